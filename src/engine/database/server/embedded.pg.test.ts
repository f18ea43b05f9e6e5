/** The server's whole life, with the real programs: first start, crashes, leftovers, odd places. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AppError } from '../../../core/errors.ts';
import type { Alarms, Log } from '../../../core/ports.ts';
import { createAlarms } from '../../../platform/alarms.ts';
import { systemClock } from '../../../platform/clock.ts';
import { silentLog } from '../../../platform/log.ts';
import { createMetrics } from '../../../platform/metrics.ts';
import { type DatabasePools, openPools } from '../connections.ts';
import { migrate } from '../migrate.ts';
import { systemIdentifier } from './control-file.ts';
import { createEmbeddedPostgres, type EmbeddedPostgres } from './embedded.ts';
import { isServerOf } from './leftovers.ts';

const isRoot = process.getuid?.() === 0;
const DEADLINE_MS = 30_000;

interface Run {
  readonly postgres: EmbeddedPostgres;
  readonly pools: DatabasePools;
  readonly alarms: Alarms;
  readonly ended: Promise<unknown>;
  stop(): Promise<void>;
}

let scratch = '';
let events: string[] = [];
const running: Run[] = [];

const recordingLog: Log = {
  ...silentLog,
  info: (event) => void events.push(event),
  warn: (event) => void events.push(event),
  child: () => recordingLog,
};

async function start(dataDir: string, pgUser?: string): Promise<Run> {
  const alarms = createAlarms(systemClock, silentLog);
  const metrics = createMetrics();
  const options = { dataDir, clock: systemClock, log: recordingLog, alarms, metrics, pgUser };
  const postgres = createEmbeddedPostgres(options);
  const stopping = new AbortController();
  const failed = new AbortController();
  const context = { clock: systemClock, log: recordingLog, ready: () => undefined };
  const ended = postgres.service.run({ ...context, signal: stopping.signal }).then(
    () => null,
    (error: unknown) => {
      failed.abort();
      return error;
    },
  );
  const pools = openPools(postgres.endpoint);
  const stop = async () => {
    await pools.close();
    stopping.abort();
    await ended;
  };
  const run = { postgres, pools, alarms, ended, stop };
  running.push(run);
  await postgres.whenUp(failed.signal, DEADLINE_MS).catch(async (error: unknown) => {
    throw (await ended) ?? error;
  });
  return run;
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = systemClock.monotonicMs() + DEADLINE_MS;
  while (!(await condition())) {
    if (systemClock.monotonicMs() > deadline) throw new Error(`timed out: ${what}`);
    await systemClock.sleep(10);
  }
}

/** A dead process that nobody waited for still has its pid, without a command line. */
async function isGone(pid: number): Promise<boolean> {
  return (await fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) === '';
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (error: unknown) => error,
  );

beforeEach(async () => {
  scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-embedded-'));
  await fs.chmod(scratch, 0o755);
  events = [];
});
afterEach(async () => {
  for (const run of running.splice(0)) await run.stop();
  await fs.rm(scratch, { recursive: true, force: true });
});

describe('a first start', () => {
  test('gives each site an identity of its own, checksums, and no TCP port', async () => {
    const a = await start(path.join(scratch, 'a'));
    const b = await start(path.join(scratch, 'b'));
    const identities: string[] = [];
    for (const [name, run] of Object.entries({ a, b })) {
      const [row] = await run.pools.admin<{ id: string }[]>`
        SELECT system_identifier::text AS id FROM pg_control_system()`;
      const control = await fs.readFile(
        path.join(scratch, name, 'postgres/cluster/global/pg_control'),
      );
      expect(row?.id).toBe(String(systemIdentifier(control)));
      identities.push(row?.id ?? '');
    }
    expect(identities[0]).not.toBe(identities[1]);
    const settings = await a.pools.admin<{ name: string; setting: string }[]>`
      SELECT name, setting FROM pg_settings
      WHERE name IN ('data_checksums', 'fsync', 'full_page_writes', 'listen_addresses', 'wal_level')`;
    expect(Object.fromEntries(settings.map((row) => [row.name, row.setting]))).toEqual({
      data_checksums: 'on',
      fsync: 'on',
      full_page_writes: 'on',
      listen_addresses: '',
      wal_level: 'logical',
    });
    const wrong = await a.pools.admin`SELECT name FROM pg_file_settings WHERE error IS NOT NULL`;
    expect([...wrong]).toEqual([]);
    expect(a.postgres.version).toStartWith('18.');
  });

  test('lets only its own user enter the socket directory, and never runs as root', async () => {
    const run = await start(path.join(scratch, 'a'));
    const stat = await fs.stat(run.postgres.endpoint.socketDirectory);
    expect(stat.mode & 0o777).toBe(0o700);
    const status = await fs.readFile(`/proc/${run.postgres.pid()}/status`, 'utf8');
    const uids = /^Uid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/).map(Number);
    expect(uids).toEqual(Array(4).fill(stat.uid));
    expect(stat.uid).not.toBe(0);
    expect(/^CapEff:\s+(\w+)$/m.exec(status)?.[1]).toBe('0000000000000000');
    expect((await fs.stat(path.join(scratch, 'a/postgres/initialised.json'))).mode & 0o077).toBe(0);
  });
});

describe('after a crash', () => {
  test('of the server: the run fails, the next one has every committed row', async () => {
    const data = path.join(scratch, 'a');
    const first = await start(data);
    await first.pools.admin`CREATE TABLE t (n integer)`;
    for (let n = 0; n < 50; n++) await first.pools.admin`INSERT INTO t VALUES (${n})`;
    process.kill(first.postgres.pid() ?? 0, 'SIGKILL');
    const error = await first.ended;
    expect(error).toBeInstanceOf(AppError);
    expect(error as AppError).toMatchObject({ code: 'database-down', kind: 'transient' });
    expect(first.postgres.isUp()).toBe(false);
    expect(first.postgres.pid()).toBeNull();
    const second = await start(data);
    const [row] = await second.pools.admin<{ n: number }[]>`SELECT count(*)::int AS n FROM t`;
    expect(row?.n).toBe(50);
    expect(second.alarms.list()).toEqual([]);
  });

  test('of a backend: the same pool works again', async () => {
    const run = await start(path.join(scratch, 'a'));
    const [row] = await run.pools.service<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
    process.kill(row?.pid ?? 0, 'SIGKILL');
    await until('connections are taken again', () =>
      run.pools.service`SELECT 1`.then(
        () => true,
        () => false,
      ),
    );
    expect(run.postgres.isUp()).toBe(true);
  });

  test('of the parent: the server dies with it', async () => {
    const data = path.join(scratch, 'a');
    const script = path.join(scratch, 'parent.ts');
    const support = path.resolve(import.meta.dir, '../../../../test/support/postgres.ts');
    await fs.writeFile(
      script,
      `import { startTestPostgres } from ${JSON.stringify(support)};
       const t = await startTestPostgres({ dataDir: ${JSON.stringify(data)}, bare: true });
       console.log(t.postgres.pid());
       setInterval(() => undefined, 1000);`,
    );
    const parent = Bun.spawn([process.execPath, script], { stdout: 'pipe', stderr: 'inherit' });
    const reader = parent.stdout.getReader();
    const pid = Number(new TextDecoder().decode((await reader.read()).value));
    const cluster = path.join(data, 'postgres/cluster');
    expect(await isServerOf(pid, cluster)).toBe(true);
    parent.kill('SIGKILL');
    await parent.exited;
    await until('the server is gone', () => isGone(pid));
    await start(data);
  });
});

describe('what an earlier life left', () => {
  test('a running server on the same cluster is stopped first', async () => {
    const data = path.join(scratch, 'a');
    const first = await start(data);
    const commandLine = await fs.readFile(`/proc/${first.postgres.pid()}/cmdline`, 'utf8');
    await first.stop();
    const cluster = path.join(data, 'postgres/cluster');
    const { uid, gid } = await fs.stat(cluster);
    const orphan = Bun.spawn(commandLine.split('\0').slice(0, -1), {
      ...(isRoot ? { uid, gid } : {}),
      env: { LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    const pidFile = path.join(cluster, 'postmaster.pid');
    await until('the orphan is up', () =>
      fs.readFile(pidFile, 'utf8').then(
        (text) => text.includes('ready'),
        () => false,
      ),
    );
    events = [];
    const second = await start(data);
    expect(events).toContain('postgres.leftover');
    expect(await orphan.exited).toBe(0);
    expect(second.postgres.pid()).not.toBe(orphan.pid);
  });

  test('a lost cluster is made anew, with an alarm and another incarnation', async () => {
    const data = path.join(scratch, 'a');
    const incarnation = async (run: Run) => {
      await migrate(run.pools.admin, silentLog);
      const rows = await run.pools.service<{ value: string }[]>`
        SELECT value FROM node.facts WHERE name = 'incarnation'`;
      return rows[0]?.value;
    };
    const first = await start(data);
    const before = await incarnation(first);
    expect(await incarnation(first)).toBe(before);
    await first.stop();
    await fs.rename(path.join(data, 'postgres/cluster'), path.join(scratch, 'lost'));
    const second = await start(data);
    expect(second.alarms.list().map((alarm) => alarm.code)).toEqual(['database-recreated']);
    expect(await incarnation(second)).not.toBe(before);
  });

  test('a half-unpacked cluster is thrown away', async () => {
    const data = path.join(scratch, 'a');
    await fs.mkdir(path.join(data, 'postgres/unpacking-x/base'), { recursive: true });
    await start(data);
    expect((await fs.readdir(path.join(data, 'postgres'))).sort()).toEqual([
      expect.stringMatching(/^bin-18/) as unknown as string,
      'cluster',
      'conf',
      'initialised.json',
      'socket',
    ]);
  });
});

describe('what cannot work is told', () => {
  test('a cluster of another major version', async () => {
    const data = path.join(scratch, 'a');
    await fs.mkdir(path.join(data, 'postgres/cluster'), { recursive: true });
    await fs.writeFile(path.join(data, 'postgres/cluster/PG_VERSION'), '17\n');
    const error = await failure(start(data));
    expect(error).toBeInstanceOf(AppError);
    expect(error as AppError).toMatchObject({ code: 'database-incompatible', kind: 'fatal' });
    expect(String(error)).toContain('made by PostgreSQL 17');
  });

  test('a --pg-bin without a server', async () => {
    const alarms = createAlarms(systemClock, silentLog);
    const options = { clock: systemClock, log: silentLog, alarms, metrics: createMetrics() };
    const postgres = createEmbeddedPostgres({
      ...options,
      dataDir: scratch,
      pgBin: '/nonexistent',
    });
    const signal = new AbortController().signal;
    const error = await failure(
      postgres.service.run({ ...options, signal, ready: () => undefined }),
    );
    expect(error as AppError).toMatchObject({ code: 'database-incompatible' });
  });

  test('whenUp ends at its deadline and with its signal', async () => {
    const alarms = createAlarms(systemClock, silentLog);
    const options = { clock: systemClock, log: silentLog, alarms, metrics: createMetrics() };
    const postgres = createEmbeddedPostgres({ ...options, dataDir: scratch });
    const waiting = new AbortController();
    const late = await failure(postgres.whenUp(waiting.signal, 10));
    expect(late as AppError).toMatchObject({ code: 'database-down' });
    const long = failure(postgres.whenUp(waiting.signal, 60_000));
    waiting.abort();
    expect((await long) as AppError).toMatchObject({ code: 'database-down' });
  });
});

describe('odd places', () => {
  test('a path too long for a socket address', async () => {
    const data = path.join(scratch, 'x'.repeat(60), 'y'.repeat(60));
    const run = await start(data);
    expect(run.postgres.endpoint.socketDirectory).not.toStartWith(data);
    expect([...(await run.pools.service`SELECT 1 AS one`)]).toEqual([{ one: 1 }]);
    await run.stop();
    await fs.rm(run.postgres.endpoint.socketDirectory, { recursive: true });
  });

  test('a path with quotes, spaces, commas', async () => {
    await start(path.join(scratch, `it's "a", \\place`));
  });

  test.if(isRoot)('a directory above that the server cannot enter', async () => {
    await fs.chmod(scratch, 0o700);
    const run = await start(path.join(scratch, 'a'));
    expect(events).toContain('postgres.barrier');
    const status = await fs.readFile(`/proc/${run.postgres.pid()}/status`, 'utf8');
    // CAP_DAC_READ_SEARCH and nothing else
    expect(/^CapEff:\s+(\w+)$/m.exec(status)?.[1]).toBe('0000000000000004');
    await run.pools.admin`CREATE TABLE t AS SELECT generate_series(1, 10000) n`;
    await run.pools.admin`CHECKPOINT`;
    const pid = run.postgres.pid() ?? 0;
    expect(/^Uid:\s+0/m.test(status)).toBe(false);
    await run.stop();
    expect(await isGone(pid)).toBe(true);
  });

  test.if(isRoot)('another --pg-user than before', async () => {
    const data = path.join(scratch, 'a');
    const first = await start(data, '4711:4712');
    await first.pools.admin`CREATE TABLE t (n integer)`;
    await first.stop();
    const second = await start(data, '4811:4812');
    await second.pools.admin`INSERT INTO t VALUES (1)`;
    const stat = await fs.stat(path.join(data, 'postgres/cluster/base'));
    expect([stat.uid, stat.gid]).toEqual([4811, 4812]);
  });
});
