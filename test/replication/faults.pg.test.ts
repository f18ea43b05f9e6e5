import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import type { DepositId } from '../../src/core/ids.ts';
import type { LastingPostgres } from '../support/lasting-postgres.ts';
import { startLastingPostgres } from '../support/lasting-postgres.ts';
import { type LocalLinkPair, openLocalLinks } from '../support/local-link.ts';
import {
  A,
  B,
  createTestSite,
  equalRows,
  newDeposit,
  paired,
  type ReplicatedPair,
  type TestSite,
  until,
} from '../support/replicated-pair.ts';

/** Set TWINSITE_LONG=1 for many more rounds. */
const isLong = process.env['TWINSITE_LONG'] === '1';
setDefaultTimeout(isLong ? 900_000 : 90_000);

const cleanups: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

interface Lasting {
  pair: ReplicatedPair;
  a: LastingPostgres;
  b: LastingPostgres;
  link: LocalLinkPair;
}

async function start(): Promise<Lasting> {
  const link = await openLocalLinks(A, B);
  const [a, b] = await Promise.all([startLastingPostgres(), startLastingPostgres()]);
  const siteA = createTestSite(A, B, a, link.a);
  const siteB = createTestSite(B, A, b, link.b);
  const pair: ReplicatedPair = { a: siteA, b: siteB, link, stop: async () => undefined };
  const made: Lasting = { pair, a, b, link };
  cleanups.push(async () => {
    await Promise.all([made.pair.a.stopServices(), made.pair.b.stopServices()]);
    await link.close();
    await Promise.all([made.a.stop(), made.b.stop()]);
  });
  await paired(pair);
  return made;
}

/** One pair lives through all of it, in this order. */
let lasting: Lasting;
beforeAll(async () => {
  lasting = await start();
});

/** mulberry32: the same seed gives the same faults. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('either server killed and the tunnel cut at random: every acknowledged row is at both', async () => {
  const seed = Number(process.env['TWINSITE_SEED'] ?? Date.now() % 1_000_000);
  const faults = isLong ? 200 : 8;
  console.log(`seed ${seed}, ${faults} faults`);
  const random = randomFrom(seed);
  const { pair, a, b, link } = lasting;
  const acknowledged = new Set<DepositId>();
  let isDone = false;
  let unknown = 0;
  const write = async (site: TestSite, writer: number) => {
    for (let i = 0; !isDone; i += 1) {
      // Every tenth request comes to both sites under one key.
      const key = i % 10 === 0 ? `${writer % 2} ${i}` : `${site.site} ${writer} ${i}`;
      const deposit = newDeposit({ site: site.site, key });
      try {
        await site.catalogue.commit(deposit);
        acknowledged.add(deposit.deposit.id);
      } catch {
        unknown += 1;
      }
      await Bun.sleep(2);
    }
  };
  const writers = [0, 1].flatMap((n) => [write(pair.a, n), write(pair.b, n)]);
  let kills = 0;
  for (let i = 0; i < faults; i += 1) {
    // Each fault hits work under way.
    const enough = acknowledged.size + 20;
    await until('requests in flight', () => acknowledged.size >= enough);
    await Bun.sleep(random() * 50);
    const dice = random();
    const victim = dice < 0.3 ? a : dice < 0.6 ? b : null;
    if (victim !== null) kills += Number(await until('a server to kill', () => victim.kill()));
    else if (dice < 0.9) link.reset();
    else {
      link.cut();
      await Bun.sleep(random() * 500);
      link.mend();
    }
  }
  isDone = true;
  const healing = performance.now();
  await Promise.all(writers);
  await equalRows(pair, 60_000);
  const ids = [...acknowledged];
  for (const site of [pair.a, pair.b]) {
    const known = await site.catalogue.needs.known(ids);
    expect(known.size).toBe(ids.length);
    // A pool may find out only now that a connection of it was killed.
    const query = () => site.postgres.pools.admin`SELECT * FROM node.divergent_rows`;
    await until('no divergent rows', query, (rows) => rows.length === 0, 5_000);
  }
  await paired(pair, 60_000);
  const healedMs = Math.round(performance.now() - healing);
  console.log(
    `${ids.length} acknowledged, ${unknown} unknown, ${kills} kills, healed in ${healedMs} ms`,
  );
});

test('a peer whose database is replaced by an empty one gets everything back', async () => {
  const { pair } = lasting;
  for (let i = 0; i < 30; i += 1) {
    await pair.a.catalogue.commit(newDeposit({ site: A }));
    await pair.b.catalogue.commit(newDeposit({ site: B }));
  }
  const before = await equalRows(pair);
  await pair.b.stopServices();
  await lasting.b.stop();
  // Meanwhile the other goes on alone.
  const alone = newDeposit({ site: A });
  await pair.a.catalogue.commit(alone);
  lasting.b = await startLastingPostgres();
  const siteB = createTestSite(B, A, lasting.b, lasting.link.b);
  lasting.pair = { ...pair, b: siteB };
  await siteB.catalogue.commit(newDeposit({ site: B }));
  const after = await equalRows(lasting.pair);
  expect(after).not.toBe(before);
  expect(await siteB.catalogue.find(alone.deposit.id)).not.toBeNull();
  await paired(lasting.pair);
  const slots = await pair.a.postgres.pools.admin`SELECT slot_name FROM pg_replication_slots`;
  expect(slots.map((slot) => slot['slot_name'] as string)).toEqual(['twinsite_b']);
});

/** Replaces A's directory by an older copy of itself, and brings the site back. */
async function restoreA(copy: string): Promise<void> {
  await lasting.pair.a.stopServices();
  await lasting.a.halt();
  const { dataDir } = lasting.a;
  await fs.rm(dataDir, { recursive: true });
  const copied = Bun.spawnSync(['cp', '-a', copy, dataDir]);
  if (!copied.success) throw new Error('cp');
  lasting.a = await startLastingPostgres({ dataDir });
}

async function copyOfA(): Promise<string> {
  await lasting.pair.a.stopServices();
  await lasting.a.halt();
  const { dataDir } = lasting.a;
  const copy = `${dataDir}-copy`;
  await fs.rm(copy, { recursive: true, force: true });
  cleanups.push(() => fs.rm(copy, { recursive: true, force: true }));
  if (!Bun.spawnSync(['cp', '-a', dataDir, copy]).success) throw new Error('cp');
  lasting.a = await startLastingPostgres({ dataDir });
  lasting.pair = { ...lasting.pair, a: createTestSite(A, B, lasting.a, lasting.link.a) };
  await paired(lasting.pair);
  return copy;
}

const codes = (site: TestSite) => site.alarms.list().map((alarm) => alarm.code);

test('a database restored from an older state notices, and everything is copied both ways', async () => {
  const copy = await copyOfA();
  const { b } = lasting.pair;
  for (let i = 0; i < 20; i += 1) {
    await lasting.pair.a.catalogue.commit(newDeposit({ site: A }));
    await b.catalogue.commit(newDeposit({ site: B }));
  }
  const before = await equalRows(lasting.pair);
  lasting.link.cut();
  await restoreA(copy);
  const siteA = createTestSite(A, B, lasting.a, lasting.link.a);
  lasting.pair = { ...lasting.pair, a: siteA };
  // Rows made after the restore, below the position that the peer has seen: it would skip them.
  const added = newDeposit({ site: A });
  await siteA.catalogue.commit(added);
  lasting.link.mend();
  await until('noticed', () => codes(siteA).includes('database-rolled-back'));
  expect(siteA.replication.allReady()).toBe(false);
  const after = await equalRows(lasting.pair);
  expect(after).not.toBe(before);
  expect(await b.catalogue.find(added.deposit.id)).not.toBeNull();
  await paired(lasting.pair);
  await until('over', () => !codes(siteA).includes('database-rolled-back'));
});

test.if(isLong)(
  'a rollback is noticed even when the log has grown past what the peer saw',
  async () => {
    const copy = await copyOfA();
    await lasting.pair.a.catalogue.commit(newDeposit({ site: A }));
    // A new mark is written and reaches the peer; in service that takes a minute.
    const marks = async (postgres: LastingPostgres, name: string) => {
      const [row] = await postgres.pools.admin<{ value: unknown }[]>`
      SELECT value FROM node.facts WHERE name = ${name}`;
      return JSON.stringify(row?.value);
    };
    const own = crypto.randomUUID();
    await lasting.a.pools.admin`UPDATE node.facts
    SET value = to_jsonb(${own}::text) || value WHERE name = 'replication-marks'`;
    await until('the peer has it', async () =>
      (await marks(lasting.b, 'replication-seen')).includes(own),
    );
    lasting.link.cut();
    await restoreA(copy);
    const siteA = createTestSite(A, B, lasting.a, lasting.link.a);
    lasting.pair = { ...lasting.pair, a: siteA };
    await lasting.a.pools.admin`SELECT pg_switch_wal(), txid_current()`;
    await lasting.a.pools.admin`SELECT pg_switch_wal(), txid_current()`;
    await siteA.catalogue.commit(newDeposit({ site: A }));
    lasting.link.mend();
    await until('noticed', () => codes(siteA).includes('database-rolled-back'));
    await equalRows(lasting.pair);
    await paired(lasting.pair);
  },
);

test('20,000 rows made while apart arrive, in bounded memory', async () => {
  const { pair, link } = lasting;
  link.cut();
  const { admin } = pair.a.postgres.pools;
  // 2 KiB each that do not compress: 40 MB through the tunnel.
  const rows = isLong ? 200_000 : 20_000;
  await admin.unsafe(`INSERT INTO twinsite.deposits (id, collection, depositor, packaging, file_count, request_digest)
    SELECT gen_random_uuid(), 'papers', 'ada',
      (SELECT string_agg(md5(n::text || i::text), '') FROM generate_series(1, 64) i), 0, ''
    FROM generate_series(1, ${rows}) n`);
  Bun.gc(true);
  const rssBefore = process.memoryUsage().rss;
  let rssMost = 0;
  const sampling = setInterval(() => {
    rssMost = Math.max(rssMost, process.memoryUsage().rss);
  }, 20);
  const started = performance.now();
  link.mend();
  await until(
    'all rows',
    async () => {
      const [row] = await pair.b.postgres.pools.admin<{ n: number }[]>`
        SELECT count(*)::int AS n FROM twinsite.deposits`;
      return (row?.n ?? 0) >= rows;
    },
    Boolean,
    120_000,
  );
  const tookMs = performance.now() - started;
  clearInterval(sampling);
  await equalRows(pair, 60_000);
  await paired(pair);
  const grownMiB = (rssMost - rssBefore) / 2 ** 20;
  console.log(
    `${rows} rows in ${Math.round(tookMs)} ms (${Math.round((rows / tookMs) * 1000)}/s), memory +${Math.round(grownMiB)} MiB`,
  );
  // Both sites are in this process: 48 MiB each, whatever the volume.
  expect(grownMiB).toBeLessThan(96);
});
