import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import type { AccountName, DepositId } from '../../src/core/ids.ts';
import type { DepositQuery } from '../../src/core/ports.ts';
import { supervise } from '../../src/core/supervise.ts';
import {
  createCatalogue,
  type DatabaseCatalogue,
} from '../../src/engine/database/catalogue/catalogue.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { sha256Hex } from '../../src/platform/hashing.ts';
import { silentLog } from '../../src/platform/log.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { A, B, errorOf, newDeposit, until } from '../support/replicated-pair.ts';

// Other tests may have the machine at the same time.
setDefaultTimeout(30_000);

let postgres: TestPostgres;
let catalogue: DatabaseCatalogue;
const stopping = new AbortController();
let running: Promise<void>;

beforeAll(async () => {
  postgres = await startTestPostgres();
  const { pools } = postgres;
  catalogue = createCatalogue({ pools, site: A, clock: systemClock, log: silentLog });
  running = supervise(catalogue.service, {
    signal: stopping.signal,
    clock: systemClock,
    log: silentLog,
    random: Math.random,
  });
}, 60_000);

afterAll(async () => {
  stopping.abort();
  await running;
  await postgres.stop();
}, 30_000);

describe('commit', () => {
  test('all rows are there, with bytes held and an attestation wanted', async () => {
    const deposit = newDeposit({ site: A, key: 'k1', name: 'Tëst "α".pdf', files: 3 });
    expect(await catalogue.commit(deposit)).toEqual({ outcome: 'committed' });
    const record = await catalogue.find(deposit.deposit.id);
    expect(record).toEqual({
      ...deposit,
      attestedByPeerAt: null,
      vouchedAt: null,
      heldHere: true,
    });
    const open = await postgres.pools.admin`SELECT * FROM node.attestations
      WHERE deposit_id = ${deposit.deposit.id} AND attested_at IS NULL`;
    expect(open).toHaveLength(1);
    const byKey = await catalogue.findByKey(deposit.deposit.keyDigest ?? '');
    expect(byKey.map((each) => each.deposit.id)).toEqual([deposit.deposit.id]);
  });

  test('an id that exists is a replay: nothing is written', async () => {
    const first = newDeposit({ site: A, key: 'k2' });
    const again = newDeposit({ site: A, key: 'k2' });
    expect(again.deposit).toEqual(first.deposit);
    await catalogue.commit(first);
    expect(await catalogue.commit(again)).toEqual({ outcome: 'existed' });
    expect((await catalogue.find(first.deposit.id))?.events).toEqual(first.events);
  });

  test('of many at once under one key exactly one is committed', async () => {
    const all = Array.from({ length: 12 }, () => newDeposit({ site: A, key: 'k3' }));
    const outcomes = await Promise.all(all.map((each) => catalogue.commit(each)));
    expect(outcomes.filter((each) => each.outcome === 'committed')).toHaveLength(1);
  });

  test('connections that break leave no doubt: each id is committed once', async () => {
    let isDone = false;
    const breaking = (async () => {
      // Bounded: a machine on which a commit takes longer than the pause must get through at last.
      for (let n = 0; n < 40 && !isDone; n += 1) {
        await postgres.pools.admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE usename = 'twinsite_service' AND query LIKE '%twinsite.deposits%'`;
        await Bun.sleep(15);
      }
    })();
    const all = Array.from({ length: 60 }, (_, i) => newDeposit({ site: A, key: `broken ${i}` }));
    const outcomes = await Promise.allSettled(all.map((each) => catalogue.commit(each)));
    isDone = true;
    await breaking;
    expect(outcomes).toEqual(
      all.map(() => ({ status: 'fulfilled', value: { outcome: 'committed' } })),
    );
    const known = await catalogue.needs.known(all.map((each) => each.deposit.id));
    expect(known.size).toBe(all.length);
    const [row] = await postgres.pools.admin<{ n: number }[]>`
      SELECT count(*)::int AS n FROM twinsite.events
      WHERE entity = ANY(string_to_array(${all.map((each) => `deposit/${each.deposit.id}`).join()}, ','))`;
    expect(row?.n).toBe(all.length);
  });

  test('the commit waits for the disk whatever the role says', async () => {
    await postgres.pools.admin`ALTER ROLE twinsite_service SET synchronous_commit = off`;
    const { pools } = postgres;
    await postgres.pools.admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE usename = 'twinsite_service'`;
    const before = newDeposit({ site: A });
    const fresh = createCatalogue({ pools, site: A, clock: systemClock, log: silentLog });
    await fresh.commit(before);
    const [row] = await postgres.pools.admin<{ flushed: boolean }[]>`
      SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() AS flushed`;
    await postgres.pools.admin`ALTER ROLE twinsite_service RESET synchronous_commit`;
    expect(row?.flushed).toBe(true);
  });
});

test('a record is served only when all of its file rows are here', async () => {
  const { deposit, files, events } = newDeposit({ site: A, files: 2 });
  await catalogue.commit({ deposit, files: files.slice(0, 1), events });
  expect(await catalogue.find(deposit.id)).toBeNull();
  expect(await catalogue.needs.known([deposit.id])).toEqual(new Set());
  expect(await catalogue.find('018f0000-0000-7000-8000-000000000000' as DepositId)).toBeNull();
});

describe('list', () => {
  const made: DepositId[] = [];
  beforeAll(async () => {
    for (let i = 0; i < 25; i += 1) {
      const wish = { site: A, name: i % 5 === 0 ? 'fifth.pdf' : 'other.pdf', content: `list ${i}` };
      const { deposit, files, events } = newDeposit(wish);
      const at = new Date(Date.UTC(2031, 0, 1, 0, 0, i)).toISOString();
      await catalogue.commit({
        deposit: {
          ...deposit,
          collection: 'listed' as AccountName,
          depositor: (i % 2 === 0 ? 'even' : 'odd') as AccountName,
        },
        files,
        events: events.map((event) => ({ ...event, at })),
      });
      made.unshift(deposit.id);
    }
  });
  const collection = 'listed' as AccountName;
  const ids = async (query: Omit<DepositQuery, 'limit'>) =>
    (await catalogue.list({ limit: 100, ...query })).items.map((item) => item.deposit.id);

  test('newest first, in pages that fit together', async () => {
    const seen: DepositId[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const query = { collection, limit: 7, ...(cursor === undefined ? {} : { cursor }) };
      const page = await catalogue.list(query);
      seen.push(...page.items.map((item) => item.deposit.id));
      cursor = page.next ?? undefined;
      pages += 1;
    } while (cursor !== undefined);
    expect(seen).toEqual(made);
    expect(pages).toBe(4);
  });

  test('filters', async () => {
    expect(await ids({ collection, depositor: 'odd' as AccountName })).toHaveLength(12);
    expect(await ids({ collection, name: 'fifth.pdf' })).toHaveLength(5);
    expect(await ids({ digest: sha256Hex('list 3') })).toEqual(made.slice(21, 22));
    const from = '2031-01-01T00:00:05.000Z';
    const until = '2031-01-01T00:00:10.000Z';
    expect(await ids({ collection, from, until })).toEqual(made.slice(15, 20));
    expect(await ids({ collection, state: 'deposited' })).toHaveLength(25);
    expect(await ids({ collection, state: 'withdrawn' })).toEqual([]);
    expect(await ids({ collection: 'no-such' as AccountName })).toEqual([]);
  });

  test('a reader sees own deposits and granted collections only', async () => {
    const none: AccountName[] = [];
    const even = { depositor: 'even' as AccountName, collections: none };
    expect(await ids({ collection, visibleTo: even })).toHaveLength(13);
    const granted = { depositor: 'nobody' as AccountName, collections: [collection] };
    expect(await ids({ visibleTo: granted })).toHaveLength(25);
    const stranger = { depositor: 'nobody' as AccountName, collections: none };
    expect(await ids({ visibleTo: stranger })).toEqual([]);
  });

  test('a deposit taken at both sites stands once, by its first received', async () => {
    const { deposit, files, events } = newDeposit({ site: B, content: 'twice' });
    const own = events.map((event) => ({ ...event, at: '2031-02-01T00:00:00.000Z' }));
    const other = newDeposit({ site: A }).events.map((event) => ({
      ...event,
      entity: `deposit/${deposit.id}`,
      at: '2031-03-01T00:00:00.000Z',
    }));
    const both = { deposit: { ...deposit, collection: 'twice' as AccountName }, files };
    await catalogue.commit({ ...both, events: [...own, ...other] });
    const page = await catalogue.list({ collection: 'twice' as AccountName, limit: 10 });
    expect(page.items).toHaveLength(1);
    expect(page.items[0]?.events[0]?.site).toBe(A);
    const late = { from: '2031-02-15T00:00:00.000Z', until: '2031-04-01T00:00:00.000Z' };
    expect(await ids({ collection: 'twice' as AccountName, ...late })).toEqual([deposit.id]);
  });

  test.each(['', 'x', Buffer.from('["no",1]').toString('base64url'), "' OR 1=1 --"])(
    'a cursor that is none is refused: %p',
    async (cursor) => {
      const error = await errorOf(catalogue.list({ limit: 5, cursor }));
      expect(error).toMatchObject({ code: 'bad-request' });
    },
  );
});

describe('events', () => {
  test('counters go up by one, also for calls at once', async () => {
    const drafts = (n: number) => [{ kind: 'set', body: { n } }];
    const written = await Promise.all(
      Array.from({ length: 20 }, (_, n) => catalogue.append('collection/counted', drafts(n))),
    );
    const counters = written.flat().map((event) => event.counter);
    expect(counters).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));
    const read = await catalogue.events('collection/counted');
    expect(read).toEqual(written.flat());
    const two = await catalogue.append('collection/counted', [
      { kind: 'x', body: {} },
      { kind: 'y', body: { deep: [1, { a: 'ü' }] } },
    ]);
    expect(two.map((event) => [event.counter, event.kind])).toEqual([
      [21, 'x'],
      [22, 'y'],
    ]);
  });

  test('a prefix is taken literally', async () => {
    await catalogue.append('admin/100%_a', [{ kind: 'added', body: {} }]);
    await catalogue.append('admin/100xya', [{ kind: 'added', body: {} }]);
    expect(await catalogue.events('admin/100%_')).toHaveLength(1);
    expect(await catalogue.events('admin/')).toHaveLength(2);
  });

  test('an append through broken connections stands once', async () => {
    let isDone = false;
    const breaking = (async () => {
      // Bounded: a machine on which a commit takes longer than the pause must get through at last.
      for (let n = 0; n < 40 && !isDone; n += 1) {
        await postgres.pools.admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE usename = 'twinsite_service' AND query LIKE '%drafts%'`;
        await Bun.sleep(10);
      }
    })();
    for (let i = 0; i < 20; i += 1) {
      await catalogue.append('collection/broken', [{ kind: 'set', body: { i } }]);
    }
    isDone = true;
    await breaking;
    const read = await catalogue.events('collection/broken');
    expect(read.map((event) => event.body['i'])).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  test('watchers hear own writes at once, and again after the connection was lost', async () => {
    let depositors = 0;
    let collections = 0;
    const stop = catalogue.watch('depositor', () => {
      depositors += 1;
    });
    catalogue.watch('collection', () => {
      collections += 1;
    });
    await catalogue.append('depositor/ada', [{ kind: 'added', body: {} }]);
    expect([depositors, collections]).toEqual([1, 0]);
    await postgres.pools.admin`SELECT pg_notify('twinsite_event', 'depositor')`;
    await until('a notification', () => depositors >= 2);
    await postgres.pools.admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE query ILIKE 'listen%'`;
    await until('told after a lost connection', () => depositors >= 3 && collections >= 1);
    const before = depositors;
    await until('heard again', async () => {
      await postgres.pools.admin`SELECT pg_notify('twinsite_event', 'depositor')`;
      return depositors > before;
    });
    stop();
    const after = depositors;
    await catalogue.append('depositor/ada', [{ kind: 'enabled', body: {} }]);
    expect(depositors).toBe(after);
  });
});

describe('needs', () => {
  test('newest first; what failed stands behind; what is held leaves', async () => {
    const { needs } = catalogue;
    const made = [newDeposit({ site: A }), newDeposit({ site: A }), newDeposit({ site: A })];
    for (const each of made) await catalogue.commit(each);
    await needs.forgetHeld();
    await postgres.pools.admin`DELETE FROM node.needed_files`;
    const refilled = await needs.refill();
    expect(refilled).toBe(await needs.size());
    expect(await needs.refill()).toBe(0);
    for (const [i, each] of made.entries()) {
      await postgres.pools.admin`UPDATE node.needed_files
        SET since = now() + ${`${i + 1} hours`}::text::interval WHERE deposit_id = ${each.deposit.id}`;
    }
    const files = made.map((each) => each.files[0]).filter((file) => file !== undefined);
    const [oldest, middle, newest] = files;
    if (!oldest || !middle || !newest) throw new Error('no files');
    expect(await needs.next(2)).toEqual([newest, middle]);
    await needs.failed(newest, 'x'.repeat(10_000));
    expect((await needs.next(2)).map((file) => file.id)).toEqual([middle.id, oldest.id]);
    const size = await needs.size();
    await needs.held([middle, oldest]);
    expect(await needs.size()).toBe(size - 2);
    expect((await catalogue.find(middle.depositId))?.heldHere).toBe(true);
    expect((await catalogue.find(newest.depositId))?.heldHere).toBe(false);
    await needs.held(await needs.next(100_000));
    expect(await needs.size()).toBe(0);
  });
});

test('a database that is away is told as such, within the deadline', async () => {
  const lost = createCatalogue({
    pools: { service: postgres.pools.service },
    site: A,
    clock: systemClock,
    log: silentLog,
    deadlineMs: 300,
  });
  await postgres.pools.admin`SELECT 1`;
  const blocker = await postgres.pools.admin.reserve();
  await blocker`BEGIN`;
  await blocker`LOCK TABLE twinsite.deposits IN ACCESS EXCLUSIVE MODE`;
  const started = performance.now();
  for (const call of [lost.commit(newDeposit({ site: A })), lost.list({ limit: 1 })]) {
    expect(await errorOf(call)).toMatchObject({ code: 'database-down' });
  }
  expect(performance.now() - started).toBeLessThan(3_000);
  await blocker`ROLLBACK`;
  blocker.release();
});
