/**
 * kill -9 of either process and of either PostgreSQL at random moments with requests in flight. Every
 * acknowledged deposit must be at both sites afterwards; no temp or half file may be visible.
 */
import { expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { rowsOf, sha256, treeDifference, treeOf } from '../support/independent.ts';
import { isAlive, Pair, QUICK, randomBody } from '../support/pair.ts';
import { type SiteProcess, until } from '../support/site-process.ts';

const KILLS = Number(process.env['TWINSITE_KILLS'] ?? '20');
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** mulberry32; enough to replay a run by its seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Acknowledged {
  readonly id: string;
  readonly path: string;
  readonly sha256: string;
}

/** Deposits without a pause; a failed request is sent again with its key at the other site. */
async function client(
  pair: Pair,
  first: SiteProcess,
  name: string,
  stop: AbortSignal,
  acks: Map<string, Acknowledged>,
): Promise<number> {
  let site = first;
  let failed = 0;
  for (let n = 0; !stop.aborted; n += 1) {
    const body = randomBody(500 + ((n * 997) % 40_000));
    for (let attempt = 0; attempt < 200 && !stop.aborted; attempt += 1) {
      try {
        const { status, receipt } = await pair.deposit(
          site,
          body,
          { 'idempotency-key': `${name}-${n}` },
          8000,
        );
        if (status === 201) {
          acks.set(receipt.id, {
            id: receipt.id,
            path: receipt.files[0].path,
            sha256: sha256(body),
          });
          break;
        }
      } catch {
        // the site died under us
      }
      failed += 1;
      site = pair.other(site);
      await Bun.sleep(50);
    }
  }
  return failed;
}

test(
  `${KILLS} kills with requests in flight (seed ${SEED})`,
  async () => {
    const random = generator(SEED);
    await using pair = await Pair.start({ topology: 't2', flags: QUICK });
    const stop = new AbortController();
    const acks = new Map<string, Acknowledged>();
    const clients = [0, 1, 2, 3].map((n) =>
      client(pair, n % 2 ? pair.b : pair.a, `client${n}`, stop.signal, acks),
    );
    const counts: Record<string, number> = {};
    for (let kill = 0; kill < KILLS; kill += 1) {
      const site = random() < 0.5 ? pair.a : pair.b;
      const kind = random() < 0.5 ? 'process' : 'postgres';
      await Bun.sleep(Math.floor(random() * 700));
      counts[`${kind} ${site.options.name}`] = (counts[`${kind} ${site.options.name}`] ?? 0) + 1;
      if (kind === 'process') {
        await site.kill9();
        await site.startReady();
      } else {
        const pid = site.postmaster()?.pid;
        if (pid && isAlive(pid)) process.kill(pid, 'SIGKILL');
        await site.ready();
      }
    }
    stop.abort();
    const failed = (await Promise.all(clients)).reduce((sum, n) => sum + n, 0);
    await pair.paired();
    await until(
      'equal rows',
      async () => (await rowsOf(pair.a)) === (await rowsOf(pair.b)),
      60_000,
      500,
    );
    let difference: string[] = [];
    await until(
      'equal trees',
      async () => {
        difference = treeDifference(
          await treeOf(pair.a.options.store),
          await treeOf(pair.b.options.store),
        );
        return difference.length === 0;
      },
      60_000,
      500,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${difference.slice(0, 10).join('\n')}`);
    });
    for (const site of [pair.a, pair.b]) {
      const tree = await treeOf(site.options.store);
      const promised = new Set((await rowsOf(site)).match(/deposits\/papers\/[^"]+/g));
      for (const ack of acks.values()) expect(tree.get(ack.path)).toBe(ack.sha256);
      for (const name of tree.keys()) expect(promised.has(name)).toBe(true);
      expect(await fs.readdir(path.join(site.options.store, '.twinsite', 'tmp'))).toEqual([]);
    }
    expect(acks.size).toBeGreaterThan(KILLS);
    console.log(
      `kills: ${KILLS} (seed ${SEED}) ${JSON.stringify(counts)}; ${acks.size} acknowledged, 0 lost, ${failed} requests sent again`,
    );
  },
  120_000 + KILLS * 15_000,
);
