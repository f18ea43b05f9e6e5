import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import net from 'node:net';
import path from 'node:path';
import postgresJs from 'postgres';
import type { AccountName } from '../../src/core/ids.ts';
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
beforeAll(async () => {
  pair = await startReplicatedPair();
  await paired(pair);
});
afterAll(async () => {
  await pair.stop();
});

const alarmCodes = (site: TestSite) => site.alarms.list().map((alarm) => alarm.code);

async function commitAt(site: TestSite, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await site.catalogue.commit(newDeposit({ site: site.site }));
}

test('rows go both ways, once, and do not come back', async () => {
  await Promise.all([commitAt(pair.a, 20), commitAt(pair.b, 20)]);
  await equalRows(pair);
  const status = pair.a.replication.status();
  expect(status).toMatchObject({ mode: 'both', inbound: 'streaming', outbound: 'streaming' });
  expect(status.postgres).toMatch(/^1[6-9]\.|^18/);
  expect(pair.a.replication.isStreaming() && pair.b.replication.allReady()).toBe(true);
  for (const site of [pair.a, pair.b]) {
    const [row] = await site.postgres.pools.admin<{ n: number; held: number; needed: number }[]>`
      SELECT (SELECT count(*)::int FROM twinsite.deposits) AS n,
        (SELECT count(*)::int FROM node.held_files) AS held,
        (SELECT count(*)::int FROM node.needed_files) AS needed`;
    expect(row).toEqual({ n: 40, held: 20, needed: 20 });
  }
});

test('arrivals are told, to the need list and to watchers', async () => {
  let arrivals = 0;
  let events = 0;
  const stops = [
    pair.b.catalogue.needs.onArrival(() => {
      arrivals += 1;
    }),
    pair.b.catalogue.watch('deposit', () => {
      events += 1;
    }),
  ];
  const deposit = newDeposit({ site: A });
  await pair.a.catalogue.commit(deposit);
  await until('told', () => arrivals > 0 && events > 0);
  const [newest] = await pair.b.catalogue.needs.next(1);
  expect(newest?.depositId).toBe(deposit.deposit.id);
  for (const stop of stops) stop();
});

test('one key at both sites while cut: one deposit, two receptions, no difference', async () => {
  pair.link.cut();
  const [atA, atB] = [newDeposit({ site: A, key: 'same' }), newDeposit({ site: B, key: 'same' })];
  expect(await pair.a.catalogue.commit(atA)).toEqual({ outcome: 'committed' });
  expect(await pair.b.catalogue.commit(atB)).toEqual({ outcome: 'committed' });
  await Promise.all([commitAt(pair.a, 5), commitAt(pair.b, 5)]);
  await until('seen as down', () => !pair.a.replication.isStreaming());
  pair.link.mend();
  await equalRows(pair);
  const record = await pair.a.catalogue.find(atA.deposit.id);
  expect(record?.events.map((event) => event.site)).toEqual([A, B]);
  expect(await pair.b.catalogue.find(atB.deposit.id)).toMatchObject({ events: record?.events });
  await paired(pair);
  expect(alarmCodes(pair.a)).toEqual([]);
});

test('the same key with other content at the peer: both kept, an alarm, the stream goes on', async () => {
  pair.link.cut();
  const atA = newDeposit({ site: A, key: 'differs' });
  const atB = newDeposit({ site: B, key: 'differs' });
  const changed = { ...atB.deposit, depositor: 'eve' as AccountName };
  await pair.a.catalogue.commit(atA);
  await pair.b.catalogue.commit({ ...atB, deposit: changed });
  pair.link.mend();
  const after = newDeposit({ site: B });
  await pair.b.catalogue.commit(after);
  await until('later rows arrive', () => pair.a.catalogue.find(after.deposit.id));
  for (const site of [pair.a, pair.b]) {
    await until('an alarm', () => alarmCodes(site).includes('rows-diverge'));
    const rows = await site.postgres.pools.admin`
      SELECT table_name, ours->>'depositor' AS ours, theirs->>'depositor' AS theirs
      FROM node.divergent_rows`;
    const [ours, theirs] = site === pair.a ? ['ada', 'eve'] : ['eve', 'ada'];
    expect(rows.map((row) => ({ ...row }))).toEqual([{ table_name: 'deposits', ours, theirs }]);
  }
  await pair.b.postgres.pools.admin.unsafe(`SET session_replication_role = replica;
    UPDATE twinsite.deposits SET depositor = 'ada' WHERE id = '${atB.deposit.id}';
    SET session_replication_role = origin`);
  for (const site of [pair.a, pair.b]) {
    await site.postgres.pools.admin`DELETE FROM node.divergent_rows`;
    await until('the alarm cleared', () => !alarmCodes(site).includes('rows-diverge'));
  }
  await equalRows(pair);
});

test('what someone changed is put right', async () => {
  const { admin } = pair.a.postgres.pools;
  await admin.unsafe(`ALTER SUBSCRIPTION twinsite_from_b SET
    (synchronous_commit = 'on', streaming = 'parallel', disable_on_error = true, origin = 'any')`);
  await admin`ALTER SUBSCRIPTION twinsite_from_b DISABLE`;
  await admin`ALTER PUBLICATION twinsite SET (publish = 'insert, update, delete, truncate')`;
  await until('settings as wanted', async () => {
    const [row] =
      await admin`SELECT subenabled, subsynccommit, substream, subdisableonerr, suborigin,
      pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_subscription, pg_publication`;
    return Bun.deepEquals(
      { ...row },
      {
        subenabled: true,
        subsynccommit: 'local',
        substream: 'f',
        subdisableonerr: false,
        suborigin: 'none',
        pubinsert: true,
        pubupdate: false,
        pubdelete: false,
        pubtruncate: false,
      },
    );
  });
  await commitAt(pair.b, 1);
  await equalRows(pair);
  await paired(pair);
});

test('deletes by hand stay where they were made', async () => {
  const deposit = newDeposit({ site: A });
  await pair.a.catalogue.commit(deposit);
  await equalRows(pair);
  const { id } = deposit.deposit;
  await pair.a.postgres.pools.admin`DELETE FROM twinsite.deposits WHERE id = ${id}`;
  await commitAt(pair.a, 1);
  await until('passed over', async () => {
    const [row] = await pair.a.postgres.pools.admin<{ lag: string }[]>`SELECT
      pg_current_wal_lsn() - confirmed_flush_lsn AS lag FROM pg_replication_slots`;
    return Number(row?.lag) === 0;
  });
  expect(await pair.b.catalogue.find(id)).not.toBeNull();
  const { deposit: d } = deposit;
  await pair.a.postgres.pools.admin.unsafe(`SET session_replication_role = replica`);
  await pair.a.postgres.pools.admin`INSERT INTO twinsite.deposits VALUES (${d.id}, ${d.collection},
    ${d.depositor}, null, ${d.title}, null, 1, decode(${d.requestDigest}, 'hex'), null)`;
  await equalRows(pair);
});

test('a slot dropped at the peer leads to a new copy, with nothing lost or doubled', async () => {
  const { admin } = pair.a.postgres.pools;
  await pair.b.postgres.pools.admin`ALTER SUBSCRIPTION twinsite_from_a DISABLE`;
  await until('dropped', async () => {
    await admin`SELECT pg_drop_replication_slot('twinsite_b')`.catch(() => undefined);
    const slots = await admin`SELECT 1 FROM pg_replication_slots WHERE slot_name = 'twinsite_b'`;
    return slots.length === 0;
  });
  await commitAt(pair.a, 10);
  await equalRows(pair);
  await paired(pair);
  const origins = await pair.b.postgres.pools.admin`SELECT roname FROM pg_replication_origin`;
  expect(origins).toHaveLength(1);
});

test('a slot that was lost leads to a new copy', async () => {
  const { admin } = pair.a.postgres.pools;
  pair.link.cut();
  await admin`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`;
  await admin`SELECT pg_reload_conf()`;
  await commitAt(pair.a, 5);
  await until('lost', async () => {
    await admin`SELECT pg_switch_wal(), txid_current()`;
    await admin`CHECKPOINT`;
    const [slot] = await admin<
      { wal_status: string }[]
    >`SELECT wal_status FROM pg_replication_slots`;
    return slot?.wal_status === 'lost';
  });
  await until('an alarm', () => alarmCodes(pair.a).includes('slot-lost'));
  await admin`ALTER SYSTEM RESET max_slot_wal_keep_size`;
  await admin`SELECT pg_reload_conf()`;
  pair.link.mend();
  await equalRows(pair);
  await paired(pair);
  await until('the alarm cleared', () => !alarmCodes(pair.a).includes('slot-lost'));
});

test('leftovers of a killed process are cleaned', async () => {
  const { admin } = pair.a.postgres.pools;
  await admin.unsafe(`SET allow_system_table_mods = on;
    INSERT INTO pg_replication_origin (roident, roname) VALUES (999, 'pg_999999');
    RESET allow_system_table_mods`);
  await until('origin dropped', async () => {
    const left = await admin`SELECT 1 FROM pg_replication_origin WHERE roname = 'pg_999999'`;
    return left.length === 0;
  });
  // Killed between making the slot and creating the subscription, and in a table copy.
  const peer = pair.b.postgres.pools.admin;
  await peer`SELECT pg_create_logical_replication_slot('pg_1_sync_2_3', 'pgoutput')`;
  await admin`ALTER SUBSCRIPTION twinsite_from_b DISABLE`;
  await admin`ALTER SUBSCRIPTION twinsite_from_b SET (slot_name = NONE)`;
  await until(
    'the leftover slot dropped',
    () => peer`SELECT slot_name FROM pg_replication_slots WHERE slot_name <> 'twinsite_a'`,
    (slots) => slots.length === 0,
  );
  await until('a new subscription', async () => {
    const rows = await admin`SELECT 1 FROM pg_subscription
      WHERE subenabled AND subslotname = 'twinsite_a'`;
    return rows.length === 1;
  });
  await commitAt(pair.b, 1);
  await equalRows(pair);
  await paired(pair);
});

test('the tunnel lets nobody through but replication', async () => {
  const directory = path.join(pair.a.postgres.dataDir, 'tunnel');
  for (const user of ['twinsite', 'twinsite_replication']) {
    const sql = postgresJs({ host: directory, user, database: 'twinsite', max: 1 });
    expect(String(await errorOf(sql`SELECT 1`))).toContain('tunnel');
    await sql.end({ timeout: 1 });
  }
});

test('a client that leaves takes its server session with it', async () => {
  const directory = path.join(pair.a.postgres.dataDir, 'tunnel');
  const { admin } = pair.b.postgres.pools;
  const sessions = async () => {
    const rows = await admin`SELECT 1 FROM pg_stat_activity WHERE application_name = 'leaver'`;
    return rows.length;
  };
  const socket = net.connect(path.join(directory, '.s.PGSQL.5432'));
  const words = Buffer.from(
    'user\0twinsite_replication\0database\0twinsite\0replication\0database\0application_name\0leaver\0\0',
  );
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + words.length, 0);
  head.writeUInt32BE(3 << 16, 4);
  socket.write(Buffer.concat([head, words]));
  await until('a session', async () => (await sessions()) === 1);
  socket.destroy();
  const started = performance.now();
  await until('none', async () => (await sessions()) === 0);
  expect(performance.now() - started).toBeLessThan(2_000);
});

test('a frozen tunnel is let go within the log timeouts, and resumes', async () => {
  await paired(pair);
  pair.link.freeze();
  const started = performance.now();
  const deposit = newDeposit({ site: A });
  await pair.a.catalogue.commit(deposit);
  await until('seen as down', () => pair.b.replication.status().inbound === 'down');
  await until('the sender has gone', async () => {
    const senders = await pair.a.postgres.pools.admin`SELECT 1 FROM pg_stat_replication`;
    return senders.length === 0;
  });
  expect(performance.now() - started).toBeLessThan(12_000);
  expect(await pair.b.catalogue.find(deposit.deposit.id)).toBeNull();
  pair.link.thaw();
  await until('arrived', () => pair.b.catalogue.find(deposit.deposit.id));
  await paired(pair);
});
