import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { createPublicKey, verify } from 'node:crypto';
import type { Sql } from 'postgres';
import { attestationText } from '../../src/core/attestation.ts';
import { durableEventId, type NewDeposit } from '../../src/core/deposit.ts';
import type { DepositId } from '../../src/core/ids.ts';
import type { PeerLink } from '../../src/core/ports.ts';
import { createAttestor } from '../../src/engine/database/attestation/attestor.ts';
import { answerLookups, createPeerLookup } from '../../src/engine/database/attestation/lookup.ts';
import { createSigner } from '../../src/engine/database/attestation/signing.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { type AttestingSite, attestBothWays } from '../support/attesting-pair.ts';
import {
  A,
  B,
  equalRows,
  errorOf,
  newDeposit,
  paired,
  type ReplicatedPair,
  startReplicatedPair,
  type TestSite,
  until,
} from '../support/replicated-pair.ts';

setDefaultTimeout(60_000);
let pair: ReplicatedPair;
let attesting: { readonly a: AttestingSite; readonly b: AttestingSite };

beforeAll(async () => {
  pair = await startReplicatedPair();
  attesting = attestBothWays(pair);
  answerLookups(pair.a.link, pair.a.catalogue);
  answerLookups(pair.b.link, pair.b.catalogue);
  await paired(pair);
});
afterEach(() => {
  pair.link.mend();
});
afterAll(async () => {
  await pair.stop();
});

async function committed(site: TestSite, key?: string): Promise<NewDeposit> {
  const deposit = newDeposit(key === undefined ? { site: site.site } : { site: site.site, key });
  await site.catalogue.commit(deposit);
  return deposit;
}

async function eventsOf(site: TestSite, id: DepositId): Promise<string[]> {
  return (await site.catalogue.events(`deposit/${id}`)).map((event) => event.kind);
}

/** Holds up the apply worker: nothing arrives until it is let go. */
async function stallArrivals(site: TestSite): Promise<() => Promise<void>> {
  await site.postgres.pools.admin`SELECT 1`;
  const blocker = await site.postgres.pools.admin.reserve();
  await blocker`BEGIN`;
  await blocker`LOCK TABLE twinsite.deposits IN SHARE MODE`;
  return async () => {
    await blocker`ROLLBACK`;
    blocker.release();
  };
}

test('attested in time: both sites know it, and no event is needed', async () => {
  const deposit = await committed(pair.a);
  const { id } = deposit.deposit;
  expect(await attesting.a.attestor.attest(id, 5_000)).toBe(true);
  // At once, at the peer alone.
  const there = await pair.b.catalogue.find(id);
  expect(there).toMatchObject({ heldHere: true, attestedByPeerAt: null });
  const here = await pair.a.catalogue.find(id);
  expect(here?.attestedByPeerAt).toBe(there?.vouchedAt ?? '');
  expect(await eventsOf(pair.a, id)).toEqual(['received']);
  // The list is cleared behind the answer.
  await until('nothing is needed', async () => (await pair.b.catalogue.needs.size()) === 0);
  expect(attesting.a.attestor.isAnswering()).toBe(true);
});

test('what is kept is the signed statement, and anyone with the key can check it', async () => {
  const deposit = await committed(pair.b);
  expect(await attesting.b.attestor.attest(deposit.deposit.id, 5_000)).toBe(true);
  const [row] = await pair.b.postgres.pools.admin<
    { statement: string; signature: Buffer; store_id: string }[]
  >`SELECT statement, signature, store_id FROM node.attestations
    WHERE deposit_id = ${deposit.deposit.id}`;
  const pem = attesting.b.identity.receiptPublicKeys[A] ?? '';
  const text = row?.statement ?? '';
  const signature = row?.signature ?? Buffer.alloc(0);
  expect(verify(null, Buffer.from(text), createPublicKey(pem), signature)).toBe(true);
  expect(row?.store_id).toBe('store-a');
  expect(JSON.parse(text)).toMatchObject({
    pair: 'pair-under-test',
    site: 'a',
    store: 'store-a',
    generation: 'generation-1',
    deposits: [[deposit.deposit.id, expect.any(String)]],
  });
});

test('many at once, from both sides', async () => {
  const one = async (site: TestSite, attestor: AttestingSite['attestor']) => {
    const deposit = await committed(site);
    return attestor.attest(deposit.deposit.id, 10_000);
  };
  const all = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      i % 2 === 0 ? one(pair.a, attesting.a.attestor) : one(pair.b, attesting.b.attestor),
    ),
  );
  expect(all.every(Boolean)).toBe(true);
});

test('a deposit that is not here is not attested', async () => {
  const { deposit } = newDeposit({ site: A });
  expect(await attesting.a.attestor.attest(deposit.id, 1_000)).toBe(false);
});

test('rows without bytes are not attested; with the bytes they are, later, by one event', async () => {
  const deposit = newDeposit({ site: A, files: 2 });
  const { id } = deposit.deposit;
  const file = deposit.files[1];
  if (!file) throw new Error('no file');
  attesting.b.lacking.add(file.id);
  await pair.a.catalogue.commit(deposit);
  const started = performance.now();
  expect(await attesting.a.attestor.attest(id, 500)).toBe(false);
  expect(performance.now() - started).toBeLessThan(900);
  expect(await pair.a.catalogue.find(id)).toMatchObject({ attestedByPeerAt: null });
  expect(await pair.b.catalogue.find(id)).toMatchObject({ vouchedAt: null, heldHere: false });
  attesting.b.lacking.clear();
  await until('raised', async () => (await pair.a.catalogue.find(id))?.attestedByPeerAt);
  expect(await eventsOf(pair.a, id)).toContain('durable');
  await equalRows(pair);
});

test('stalled replication: false at the deadline, true later by exactly one event', async () => {
  const release = await stallArrivals(pair.b);
  const deposits = await Promise.all(Array.from({ length: 20 }, () => committed(pair.a)));
  const started = performance.now();
  const answers = await Promise.all(
    deposits.map((each) => attesting.a.attestor.attest(each.deposit.id, 700)),
  );
  const tookMs = performance.now() - started;
  expect(answers.some(Boolean)).toBe(false);
  expect(tookMs).toBeGreaterThan(650);
  expect(tookMs).toBeLessThan(1_500);
  expect(attesting.a.attestor.isAnswering()).toBe(false);
  await release();
  await until('answering again', () => attesting.a.attestor.isAnswering());
  for (const each of deposits) {
    const { id } = each.deposit;
    await until('raised', async () => (await eventsOf(pair.b, id)).includes('durable'));
    const events = await pair.b.catalogue.events(`deposit/${id}`);
    const received = events.find((event) => event.kind === 'received');
    const durable = events.filter((event) => event.kind === 'durable');
    expect(durable).toEqual([
      {
        id: durableEventId(id),
        entity: `deposit/${id}`,
        counter: 1,
        site: A,
        at: received?.at ?? '',
        kind: 'durable',
        body: {},
      },
    ]);
  }
  await equalRows(pair);
});

test('taken at both while cut: only the winner raises it, both sites end with one event', async () => {
  pair.link.cut();
  const keys = Array.from({ length: 5 }, (_, i) => `both sites ${i}`);
  const ids: DepositId[] = [];
  for (const key of keys) {
    const atA = await committed(pair.a, key);
    const atB = await committed(pair.b, key);
    ids.push(atA.deposit.id);
    expect(atB.deposit.id).toBe(atA.deposit.id);
  }
  const answers = await Promise.all(
    ids.flatMap((id) => [
      attesting.a.attestor.attest(id, 300),
      attesting.b.attestor.attest(id, 300),
    ]),
  );
  expect(answers.some(Boolean)).toBe(false);
  pair.link.mend();
  for (const id of ids) {
    for (const site of [pair.a, pair.b]) {
      await until('attested', async () => (await site.catalogue.find(id))?.attestedByPeerAt);
    }
    await until('one event', async () => (await eventsOf(pair.b, id)).includes('durable'));
  }
  await equalRows(pair);
  for (const id of ids) {
    const events = await pair.a.catalogue.events(`deposit/${id}`);
    expect(events.map((event) => [event.site, event.kind]).sort()).toEqual([
      ['a', 'durable'],
      ['a', 'received'],
      ['b', 'received'],
    ]);
  }
  const divergent = await pair.a.postgres.pools.admin`SELECT * FROM node.divergent_rows`;
  expect(divergent).toHaveLength(0);
});

test('a replay at the peer can be attested too', async () => {
  const deposit = await committed(pair.a);
  const { id } = deposit.deposit;
  await until('arrived', () => pair.b.catalogue.find(id));
  expect(await attesting.b.attestor.attest(id, 5_000)).toBe(true);
  expect((await pair.b.catalogue.find(id))?.attestedByPeerAt).not.toBeNull();
});

test('rows that differ are refused for good', async () => {
  const deposit = await committed(pair.a);
  const { id } = deposit.deposit;
  await until('arrived', () => pair.b.catalogue.find(id));
  const change = (sql: Sql, title: string) =>
    sql.unsafe(`SET session_replication_role = replica;
      UPDATE twinsite.deposits SET title = '${title}' WHERE id = '${id}';
      SET session_replication_role = origin`);
  await change(pair.b.postgres.pools.admin, 'changed');
  expect(await attesting.a.attestor.attest(id, 2_000)).toBe(false);
  await change(pair.b.postgres.pools.admin, deposit.deposit.title ?? '');
  expect(await attesting.a.attestor.attest(id, 5_000)).toBe(true);
});

test('two copies in one store are no two copies; a failed store vouches for nothing', async () => {
  const deposit = await committed(pair.a);
  attesting.b.store.id = 'store-a';
  expect(await attesting.a.attestor.attest(deposit.deposit.id, 400)).toBe(false);
  attesting.b.store.id = 'store-b';
  attesting.b.store.failure = 'mount is gone';
  expect(await attesting.a.attestor.attest(deposit.deposit.id, 400)).toBe(false);
  attesting.b.store.failure = null;
  await until('answering again', () => attesting.a.attestor.isAnswering());
});

test('an answer that is not signed by the peer, or for another pair, counts for nothing', async () => {
  const deposit = await committed(pair.a);
  const { identity } = attesting.a;
  const { pools } = pair.a.postgres;
  const good = {
    pairId: identity.pairId,
    site: B as string,
    storeId: 'store-b',
    storeGeneration: '1',
    at: new Date().toISOString(),
    deposits: [] as [string, string][],
  };
  const signAsB = createSigner(attesting.b.identity);
  const signAsA = createSigner(identity);
  const lies: ((text: typeof good) => { statement: string; signature: string })[] = [
    (s) => ({ statement: attestationText(s), signature: signAsA(attestationText(s)) }),
    (s) => ({ statement: attestationText(s), signature: 'AAAA' }),
    (s) => {
      const text = attestationText({ ...s, pairId: 'other' });
      return { statement: text, signature: signAsB(text) };
    },
    (s) => {
      const text = attestationText({ ...s, deposits: s.deposits.map(([id]) => [id, 'x']) });
      return { statement: text, signature: signAsB(text) };
    },
    () => ({ statement: '{"type":"x"}', signature: signAsB('{"type":"x"}') }),
  ];
  for (const lie of lies) {
    const link: PeerLink = {
      ...pair.a.link,
      request: async (_method, body) => {
        const { deposits } = body as { deposits: { id: string; rowDigest: string }[] };
        const told = deposits.map((each): [string, string] => [each.id, each.rowDigest]);
        return { ...lie({ ...good, deposits: told }), refused: [], received: [] };
      },
    };
    const attestor = createAttestor({
      ...{ pools, catalogue: pair.a.catalogue, link, identity, clock: systemClock },
      ...{ log: pair.a.log, metrics: pair.a.metrics, ownStoreId: () => 'store-a' },
    });
    expect(await attestor.attest(deposit.deposit.id, 300)).toBe(false);
  }
  const [row] = await pools.admin<{ attested: boolean }[]>`
    SELECT statement LIKE '%x%' AS attested FROM node.attestations
    WHERE deposit_id = ${deposit.deposit.id} AND statement IS NOT NULL AND store_id <> 'store-b'`;
  expect(row).toBeUndefined();
});

test('while a table is being copied nothing is vouched for', async () => {
  const deposit = await committed(pair.a);
  const { admin } = pair.b.postgres.pools;
  await admin.unsafe(`SET allow_system_table_mods = on;
    UPDATE pg_subscription_rel SET srsubstate = 'd' WHERE srrelid = 'twinsite.events'::regclass;
    RESET allow_system_table_mods`);
  const answer = await attesting.a.attestor.attest(deposit.deposit.id, 300);
  await until('ready again', async () => {
    const rows = await admin`SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'`;
    return rows.length === 0;
  });
  // A small table is copied in less than the wait: then it was vouched for afterwards.
  if (!answer)
    await until(
      'raised',
      async () => (await pair.a.catalogue.find(deposit.deposit.id))?.attestedByPeerAt,
    );
  await paired(pair);
});

test('a deposit that has not arrived can be looked up at the peer', async () => {
  const lookup = createPeerLookup(pair.b.link);
  const release = await stallArrivals(pair.b);
  const deposit = await committed(pair.a, 'looked up');
  const { id, keyDigest } = deposit.deposit;
  expect(await pair.b.catalogue.find(id)).toBeNull();
  expect(await lookup.byId(id, 2_000)).toMatchObject({ ...deposit, heldHere: true });
  expect(await lookup.byKey(keyDigest ?? '', 2_000)).toMatchObject([{ ...deposit }]);
  const unknown = newDeposit({ site: A, key: 'nobody' }).deposit;
  expect(await lookup.byId(unknown.id, 2_000)).toBeNull();
  expect(await lookup.byKey(unknown.keyDigest ?? '', 2_000)).toEqual([]);
  pair.link.cut();
  expect(await errorOf(lookup.byId(id, 300))).toMatchObject({ code: 'peer-unreachable' });
  pair.link.mend();
  await release();
  await equalRows(pair);
});

test('bulk: what was taken alone is raised in slices once the peer is back', async () => {
  pair.link.cut();
  const deposits: NewDeposit[] = [];
  for (let i = 0; i < 300; i += 1) deposits.push(newDeposit({ site: A }));
  await Promise.all(deposits.map((each) => pair.a.catalogue.commit(each)));
  // As after a restart of the process: nothing is remembered of them.
  const ids = deposits.map((each) => each.deposit.id);
  expect(await attesting.a.attestor.attest(ids[0] ?? ('' as DepositId), 200)).toBe(false);
  pair.link.mend();
  await until(
    'all raised',
    async () => {
      const [row] = await pair.b.postgres.pools.admin<{ n: number }[]>`
        SELECT count(*)::int AS n FROM twinsite.events
        WHERE kind = 'durable' AND entity = ANY(string_to_array(${ids.map((id) => `deposit/${id}`).join()}, ','))`;
      return row?.n;
    },
    (n) => n === ids.length,
    40_000,
  );
  await equalRows(pair);
});
