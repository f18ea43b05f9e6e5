/** A PostgreSQL server for tests that lives through crashes: killed, it is started again. */
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Log } from '../../src/core/ports.ts';
import { supervise } from '../../src/core/supervise.ts';
import { openPools } from '../../src/engine/database/connections.ts';
import { migrate } from '../../src/engine/database/migrate.ts';
import { createEmbeddedPostgres } from '../../src/engine/database/server/embedded.ts';
import { createAlarms } from '../../src/platform/alarms.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import type { TestPostgres } from './postgres.ts';

export interface LastingPostgres extends TestPostgres {
  /** SIGKILL to the postmaster; its children follow. False when it is not up. */
  kill(): boolean;
  /** Stops cleanly and leaves the directory; start it again with startLastingPostgres(dataDir). */
  halt(): Promise<void>;
}

/** In `dataDir`, or in a new directory; stop() removes it. */
export async function startLastingPostgres(
  options: { readonly dataDir?: string; readonly log?: Log } = {},
): Promise<LastingPostgres> {
  const log = options.log ?? silentLog;
  const dataDir = options.dataDir ?? (await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-test-')));
  await fs.chmod(dataDir, 0o711);
  const clock = systemClock;
  const alarms = createAlarms(clock, log);
  const postgres = createEmbeddedPostgres({
    dataDir,
    clock,
    log,
    alarms,
    metrics: createMetrics(),
  });
  const stopping = new AbortController();
  const running = supervise(postgres.service, {
    signal: stopping.signal,
    clock,
    log,
    random: () => 0,
  });
  const pools = openPools(postgres.endpoint, log);
  const halt = async () => {
    await pools.close();
    stopping.abort();
    await running;
  };
  await postgres.whenUp(stopping.signal, 60_000);
  await migrate(pools.admin, log);
  return {
    endpoint: postgres.endpoint,
    pools,
    postgres,
    dataDir,
    kill() {
      const pid = postgres.pid();
      if (pid === null || !postgres.isUp()) return false;
      process.kill(pid, 'SIGKILL');
      return true;
    },
    halt,
    async stop() {
      await halt();
      await fs.rm(dataDir, { recursive: true, force: true });
    },
  };
}
