/** Real PostgreSQL servers for tests: each with its own cluster, migrated, gone afterwards. */
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Log } from '../../src/core/ports.ts';
import {
  type DatabaseEndpoint,
  type DatabasePools,
  openPools,
} from '../../src/engine/database/connections.ts';
import { migrate } from '../../src/engine/database/migrate.ts';
import {
  createEmbeddedPostgres,
  type EmbeddedPostgres,
} from '../../src/engine/database/server/embedded.ts';
import { createAlarms } from '../../src/platform/alarms.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';

export interface TestPostgres {
  readonly endpoint: DatabaseEndpoint;
  readonly pools: DatabasePools;
  readonly postgres: EmbeddedPostgres;
  readonly dataDir: string;
  /** Ends the pools and the server and removes its directory. */
  stop(): Promise<void>;
}

export interface TestPostgresOptions {
  readonly log?: Log;
  /** Leave the database without our tables. */
  readonly bare?: boolean;
  readonly pgUser?: string;
  /** An existing or new directory that stays after stop(); default: a new one that goes. */
  readonly dataDir?: string;
}

const START_DEADLINE_MS = 60_000;

/** Starts the embedded server in a directory of its own and migrates it. Give the test 60 s. */
export async function startTestPostgres(options: TestPostgresOptions = {}): Promise<TestPostgres> {
  const log = options.log ?? silentLog;
  const dataDir = options.dataDir ?? (await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-test-')));
  const postgres = createEmbeddedPostgres({
    dataDir,
    clock: systemClock,
    log,
    alarms: createAlarms(systemClock, log),
    metrics: createMetrics(),
    pgUser: options.pgUser,
  });
  const stopping = new AbortController();
  const failed = new AbortController();
  let failure: unknown;
  const running = postgres.service
    .run({ signal: stopping.signal, clock: systemClock, log, ready: () => undefined })
    .catch((error: unknown) => {
      failure = error;
      failed.abort();
    });
  const pools = openPools(postgres.endpoint, log);
  const stop = async () => {
    await pools.close();
    stopping.abort();
    await running;
    if (options.dataDir === undefined) await fs.rm(dataDir, { recursive: true, force: true });
  };
  try {
    await postgres.whenUp(failed.signal, START_DEADLINE_MS);
    if (options.bare !== true) await migrate(pools.admin, log);
  } catch (error) {
    await stop();
    throw failure ?? error;
  }
  return { endpoint: postgres.endpoint, pools, postgres, dataDir, stop };
}

export interface TestPostgresPair {
  readonly a: TestPostgres;
  readonly b: TestPostgres;
  stop(): Promise<void>;
}

/** Two servers at once, not connected to each other. */
export async function startTestPostgresPair(
  options: TestPostgresOptions = {},
): Promise<TestPostgresPair> {
  const started = await Promise.allSettled([
    startTestPostgres(options),
    startTestPostgres(options),
  ]);
  const [a, b] = started;
  if (a?.status === 'fulfilled' && b?.status === 'fulfilled') {
    return {
      a: a.value,
      b: b.value,
      stop: async () => {
        await Promise.all([a.value.stop(), b.value.stop()]);
      },
    };
  }
  for (const one of started) if (one.status === 'fulfilled') await one.value.stop();
  const broken = started.find((one) => one.status === 'rejected');
  throw broken?.reason instanceof Error ? broken.reason : new Error('PostgreSQL did not start');
}
