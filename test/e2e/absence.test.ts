/** P6: what is missing was not deleted. Nothing may be deleted or moved anywhere, and the site says what is wrong. */
import { describe, expect, test } from 'bun:test';
import { execFileSync } from 'node:child_process';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { rowsOf, treeDifference, treeOf } from '../support/independent.ts';
import { Pair, QUICK, randomBody } from '../support/pair.ts';
import { runBinary, until } from '../support/site-process.ts';

async function withContent(pair: Pair): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < 5; n += 1)
    ids.push((await pair.deposit(n % 2 ? pair.b : pair.a, randomBody(2000))).receipt.id);
  await fs.mkdir(path.join(pair.a.options.store, 'app', 'deep'), { recursive: true });
  for (let n = 0; n < 20; n += 1)
    await fs.writeFile(path.join(pair.a.options.store, 'app', 'deep', `f${n}`), `file ${n}`);
  await until(
    'the application’s files at b',
    async () =>
      treeDifference(await treeOf(pair.a.options.store), await treeOf(pair.b.options.store))
        .length === 0,
  );
  return ids;
}

describe('absence is not deletion', () => {
  test.if(process.getuid?.() === 0)(
    'an empty directory mounted over the store',
    async () => {
      await using pair = await Pair.start({ topology: 't2', flags: QUICK });
      await withContent(pair);
      const before = await treeOf(pair.b.options.store);
      execFileSync('mount', ['-t', 'tmpfs', 'none', pair.a.options.store]);
      try {
        const status = await pair.a.inState('failed', 15_000);
        expect(status.store.health).toBe('failed');
        expect(status.store.reason).toBeTruthy();
        expect((await fetch(`${pair.a.url}/readyz`)).status).toBe(503);
        await Bun.sleep(2000);
        expect(await fs.readdir(pair.a.options.store)).toEqual([]);
        expect(treeDifference(before, await treeOf(pair.b.options.store))).toEqual([]);
      } finally {
        execFileSync('umount', [pair.a.options.store]);
      }
      await pair.paired();
      expect(treeDifference(before, await treeOf(pair.a.options.store))).toEqual([]);
    },
    90_000,
  );

  test('an empty database', async () => {
    await using pair = await Pair.start({ topology: 't2', flags: QUICK });
    const ids = await withContent(pair);
    const before = await treeOf(pair.b.options.store);
    const rows = await rowsOf(pair.b);
    await pair.a.stop();
    await fs.rename(
      path.join(pair.a.data, 'postgres', 'cluster'),
      path.join(pair.root, 'cluster.away'),
    );
    await pair.a.start();
    await pair.paired(90_000);
    await until('the rows back at a', async () => (await rowsOf(pair.a)) === rows, 30_000);
    expect(await rowsOf(pair.b)).toBe(rows);
    const status = await pair.a.status();
    expect(JSON.stringify(status.alarms)).toContain('database-recreated');
    for (const site of [pair.a, pair.b]) {
      expect(treeDifference(before, await treeOf(site.options.store))).toEqual([]);
    }
    for (const id of ids) expect((await pair.receipt(pair.a, id)).httpStatus).toBe(200);
  }, 150_000);

  test('a store with a foreign deposits/ tree is not adopted, and nothing in it is touched', async () => {
    await using pair = await Pair.make({ topology: 't2' });
    const foreign = path.join(pair.a.options.store, 'deposits', 'x', '00');
    await fs.mkdir(foreign, { recursive: true });
    await fs.writeFile(path.join(foreign, 'somebody’s'), 'not ours');
    const before = await treeOf(pair.a.options.store);
    const init = await runBinary(['store', 'init', pair.a.options.store, '--adopt']);
    expect(init.code).not.toBe(0);
    expect(init.stderr).toContain('deposits');
    await pair.a.start();
    const said = await until('a says what is wrong', async () => {
      if (!pair.a.running) return pair.a.tail();
      const status = await pair.a.status();
      return status.store.health === 'failed' ? String(status.store.reason) : null;
    });
    expect(said).toMatch(/marker|store init/);
    expect(treeDifference(before, await treeOf(pair.a.options.store))).toEqual([]);
    expect(await fs.readdir(pair.a.options.store)).toEqual(['deposits']);
  }, 60_000);

  test('a tree of 10,000 files adopted at a appears at b', async () => {
    await using pair = await Pair.make({ topology: 't2', flags: QUICK });
    for (let d = 0; d < 100; d += 1) {
      const directory = path.join(pair.a.options.store, `d${d % 10}`, `e${d}`);
      await fs.mkdir(directory, { recursive: true });
      await Promise.all(
        Array.from({ length: 100 }, (_, f) =>
          fs.writeFile(path.join(directory, `f${f}`), `content ${d} ${f}`),
        ),
      );
    }
    const before = await treeOf(pair.a.options.store);
    const init = await runBinary(['store', 'init', pair.a.options.store, '--adopt']);
    expect(init.code).toBe(0);
    const begun = performance.now();
    await Promise.all([pair.a.start(), pair.b.start()]);
    await until(
      '10,000 files at b',
      async () => {
        const status = await pair.b.status();
        return status.files.entries >= 10_000 && status.files.pendingIn === 0;
      },
      90_000,
      250,
    );
    console.log(
      `10,000 files adopted and at the peer ${Math.round(performance.now() - begun)} ms after the start`,
    );
    await until(
      'equal',
      async () => treeDifference(before, await treeOf(pair.b.options.store)).length === 0,
      20_000,
      500,
    );
    expect(treeDifference(before, await treeOf(pair.a.options.store))).toEqual([]);
  }, 150_000);
});
