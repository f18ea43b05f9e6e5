/** The PostgreSQL that comes with the program, kept running under --data. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError } from '../../../core/errors.ts';
import type { Alarms, Clock, Log, Metrics } from '../../../core/ports.ts';
import type { Service, ServiceContext } from '../../../core/service.ts';
import { type DatabaseEndpoint, openPool } from '../connections.ts';
import { diskError } from './binaries.ts';
import { parsePidFileStatus, removeLeftovers } from './leftovers.ts';
import { type PreparedServer, prepareServer, writeConfiguration } from './prepare.ts';
import { type ServerProcess, startServer } from './process.ts';
import { ADMIN_ROLE, DATABASE_NAME, provision } from './provision.ts';
import { chooseSocketDirectory } from './socket-directory.ts';

export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly metrics: Metrics;
  /** --pg-user */
  readonly pgUser?: string | undefined;
  /** --pg-bin */
  readonly pgBin?: string | undefined;
}

export interface EmbeddedPostgres {
  readonly service: Service;
  readonly endpoint: DatabaseEndpoint;
  /** e.g. `18.4`; empty before the first start. */
  readonly version: string;
  /** How often the server came up in this process. */
  readonly generationOfStarts: number;
  pid(): number | null;
  /** It took connections when last seen, and its process lives. */
  isUp(): boolean;
  /** Resolves when it is up; rejects with AppError `database-down` at the deadline or when aborted. */
  whenUp(signal: AbortSignal, timeoutMs: number): Promise<void>;
}

/** Replaying the log of a crash takes as long as it takes; beyond this something hangs. */
const START_DEADLINE_MS = 15 * 60_000;
const SLOW_START_MS = 10_000;
const POLL_MS = 10;
/** How often the limit on kept WAL follows the free space of the disk. */
const RECONFIGURE_MS = 24 * 3_600_000;

interface State {
  version: string;
  starts: number;
  server: ServerProcess | null;
  isUp: boolean;
  readonly waiting: Set<() => void>;
}

/** A right that was there once and is missing now (a disk turned read-only) may come back: try again. */
function retriable(error: AppError, wasUp: boolean): AppError {
  if (!wasUp || error.code !== 'no-permission') return error;
  return new AppError(error.code, error.message, { cause: error.cause, kind: 'transient' });
}

/** Why a run of the server ended, as an error that the supervisor retries. */
function endedError(reason: string, fatal: string | null): AppError {
  const why = fatal === null ? '' : `: ${fatal}`;
  const isFull = fatal !== null && /No space left on device|Disk quota exceeded/.test(fatal);
  return new AppError(
    isFull ? 'storage' : 'database-down',
    `PostgreSQL ended (${reason})${why}.${isFull ? ' Free space on the disk of --data.' : ''}`,
    { kind: 'transient' },
  );
}

/** Waits until the server says that it takes connections. */
async function waitUntilReady(
  server: ServerProcess,
  prepared: PreparedServer,
  context: ServiceContext,
): Promise<void> {
  const { clock, signal, log } = context;
  const pidFile = path.join(prepared.cluster, 'postmaster.pid');
  const started = clock.monotonicMs();
  let nextNoticeMs = SLOW_START_MS;
  while (!server.hasExited() && !signal.aborted) {
    const text = await fs.readFile(pidFile, 'utf8').catch(() => '');
    if (parsePidFileStatus(text) === 'ready') return;
    const elapsedMs = clock.monotonicMs() - started;
    if (elapsedMs > START_DEADLINE_MS) {
      throw new AppError('database-down', 'PostgreSQL did not get ready within 15 minutes.');
    }
    if (elapsedMs > nextNoticeMs) {
      log.info('postgres.recovering', { elapsedMs: Math.round(elapsedMs) });
      nextNoticeMs *= 2;
    }
    await clock.sleep(POLL_MS, signal);
  }
  if (signal.aborted) return;
  throw endedError(await server.exited, server.lastFatal());
}

/** Connects, and makes database and roles where they are missing. */
async function probe(endpoint: DatabaseEndpoint): Promise<void> {
  const admin = openPool(endpoint, {
    user: ADMIN_ROLE,
    max: 1,
    statementTimeoutMs: 60_000,
    lockTimeoutMs: 10_000,
    database: 'postgres',
  });
  try {
    await provision(admin);
  } finally {
    await admin.end({ timeout: 1 });
  }
}

async function runOnce(
  options: EmbeddedPostgresOptions,
  endpoint: DatabaseEndpoint,
  directory: string,
  state: State,
  context: ServiceContext,
): Promise<void> {
  const { clock, signal, log } = context;
  const started = clock.monotonicMs();
  const prepared = await prepareServer({
    dataDir: options.dataDir,
    directory,
    socketDirectory: endpoint.socketDirectory,
    clock,
    log,
    alarms: options.alarms,
    pgUser: options.pgUser,
    pgBin: options.pgBin,
  });
  state.version = prepared.binaries.version;
  await removeLeftovers(prepared.cluster, clock, log, signal);
  if (signal.aborted) return;
  const server = startServer({ ...prepared, clock, log });
  state.server = server;
  try {
    await waitUntilReady(server, prepared, context);
    if (!signal.aborted) {
      await probe(endpoint);
      state.starts += 1;
      state.isUp = true;
      const tookMs = Math.round(clock.monotonicMs() - started);
      log.info('postgres.up', { version: state.version, pid: server.pid, tookMs });
      options.metrics.count('postgres_starts_total', 'Times PostgreSQL came up in this process.');
      options.metrics.gauge('postgres_up', 'Whether PostgreSQL takes connections.', 1);
      for (const wake of state.waiting) wake();
      context.ready();
      await keepConfigured(
        server,
        { directory, socketDirectory: endpoint.socketDirectory },
        prepared,
        context,
      );
    }
    if (!signal.aborted) throw endedError(await server.exited, server.lastFatal());
  } finally {
    state.isUp = false;
    options.metrics.gauge('postgres_up', 'Whether PostgreSQL takes connections.', 0);
    const stopping = clock.monotonicMs();
    await server.stop();
    state.server = null;
    log.info('postgres.stopped', { tookMs: Math.round(clock.monotonicMs() - stopping) });
  }
}

/** Rewrites the configuration once a day; resolves when the server ended or the signal aborted. */
async function keepConfigured(
  server: ServerProcess,
  places: { readonly directory: string; readonly socketDirectory: string },
  prepared: PreparedServer,
  { clock, signal, log }: ServiceContext,
): Promise<void> {
  const ended = new AbortController();
  void server.exited.then(() => ended.abort());
  const either = AbortSignal.any([signal, ended.signal]);
  while (!either.aborted) {
    await clock.sleep(RECONFIGURE_MS, either);
    if (either.aborted) return;
    try {
      await writeConfiguration(places, prepared.binaries.major);
      server.reload();
    } catch (error) {
      log.warn('postgres.reconfigure-failed', { error: describeError(error) });
    }
  }
}

async function waitUp(
  state: State,
  clock: Clock,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<void> {
  const over = new AbortController();
  const deadline = clock.monotonicMs() + timeoutMs;
  const either = AbortSignal.any([signal, over.signal]);
  const wake = () => over.abort();
  state.waiting.add(wake);
  try {
    if (!state.isUp) await clock.sleep(Math.max(0, deadline - clock.monotonicMs()), either);
  } finally {
    state.waiting.delete(wake);
  }
  if (state.isUp) return;
  const why = signal.aborted ? 'The wait was ended.' : `Waited ${timeoutMs} ms.`;
  throw new AppError('database-down', `PostgreSQL is not up. ${why}`, { retryAfterSeconds: 2 });
}

/**
 * The embedded server as a service. Its run unpacks what is missing, ends what an earlier process left,
 * starts the server, makes database and roles, and calls ready(); it rejects when the server ends
 * (`supervise` starts it again) and stops it in under 20 s when aborted. AppErrors of kind fatal:
 * `database-incompatible`, `no-permission`, `config`.
 */
export function createEmbeddedPostgres(options: EmbeddedPostgresOptions): EmbeddedPostgres {
  const directory = path.resolve(options.dataDir, 'postgres');
  const endpoint = {
    socketDirectory: chooseSocketDirectory(directory),
    port: 5432,
    database: DATABASE_NAME,
  };
  const state: State = { version: '', starts: 0, server: null, isUp: false, waiting: new Set() };
  return {
    endpoint,
    get version() {
      return state.version;
    },
    get generationOfStarts() {
      return state.starts;
    },
    pid: () => (state.server?.hasExited() === false ? state.server.pid : null),
    isUp: () => state.isUp && state.server?.hasExited() === false,
    whenUp: (signal, timeoutMs) => waitUp(state, options.clock, signal, timeoutMs),
    service: {
      name: 'postgres',
      run: async (context) => {
        try {
          await runOnce(options, endpoint, directory, state, context);
        } catch (error) {
          const told = diskError(error, directory);
          if (told instanceof AppError) throw retriable(told, state.starts > 0);
          throw new AppError('database-down', 'PostgreSQL could not be run.', { cause: told });
        }
      },
    },
  };
}
