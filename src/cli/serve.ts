/** `twinsite serve`: joins the parts, runs them until a signal, and stops them in order. */
import { randomBytes } from 'node:crypto';
import { AppError, describeError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import { checkDataDirectory } from '../engine/files/store/file-system.ts';
import { takeDataLock } from '../engine/files/store/lock.ts';
import { readIdentity } from '../link/identity-file.ts';
import { systemClock } from '../platform/clock.ts';
import { openLog } from '../platform/log.ts';
import { type Config, siteNames } from '../platform/settings/config.ts';
import { openServiceManager } from '../platform/systemd.ts';
import { exitCodeOf } from './failure.ts';
import { openSite, type Site } from './serve/site.ts';
import { Tiers } from './serve/tiers.ts';

/** Stop order: what takes requests, the holder's duties, the engines, the link, the database. */
const TIERS = [
  { name: 'requests', deadlineMs: 12_000 },
  { name: 'failover', deadlineMs: 3_000 },
  { name: 'engines', deadlineMs: 6_000 },
  { name: 'link', deadlineMs: 2_000 },
  { name: 'database', deadlineMs: 20_000 },
] as const;
/** A stop that took longer ends the process whatever still runs; systemd's own limit is 45 s. */
const STOP_WITHIN_MS = 40_000;
const DRAIN_WITHIN_MS = 10_000;

/** Resolves with the first SIGTERM or SIGINT; the second ends the process at once. */
function firstSignal(log: Log): { readonly signalled: Promise<string>; release(): void } {
  let resolve: (name: string) => void = () => undefined;
  const signalled = new Promise<string>((done) => {
    resolve = done;
  });
  let seen = false;
  const on = (name: string) => {
    if (seen) process.exit(130);
    seen = true;
    log.info('stop.asked', { signal: name });
    resolve(name);
  };
  process.on('SIGTERM', on);
  process.on('SIGINT', on);
  return {
    signalled,
    release: () => {
      process.off('SIGTERM', on);
      process.off('SIGINT', on);
    },
  };
}

async function stopSite(site: Site | null, tiers: Tiers, log: Log): Promise<void> {
  const forced = setTimeout(() => process.exit(1), STOP_WITHIN_MS);
  forced.unref();
  if (site !== null) {
    const limit = new AbortController();
    const late = systemClock.sleep(DRAIN_WITHIN_MS, limit.signal);
    await Promise.race([site.control.drain(true), late]).catch((error: unknown) =>
      log.warn('stop.drain', { error: describeError(error) }),
    );
    limit.abort();
  }
  const inTime = await tiers.stop();
  await site?.close();
  clearTimeout(forced);
  log.info('stop.done', { inTime });
}

/**
 * Runs a site until SIGTERM or SIGINT. Returns the exit code; throws AppError for what keeps it from
 * starting.
 */
export async function runServe(config: Config): Promise<number> {
  await checkDataDirectory(config.dataDir);
  const lock = takeDataLock(config.dataDir);
  try {
    const identity = config.identityFile === null ? null : await readIdentity(config.identityFile);
    const names = siteNames(config, identity);
    const log = (await openLog(config.log)).child({ site: names.site });
    const manager = openServiceManager({ env: process.env, pid: process.pid, clock: systemClock });
    const signals = firstSignal(log);
    const tiers = new Tiers({ tiers: TIERS, clock: systemClock, log, random: Math.random });
    let site: Site | null = null;
    let code = 0;
    try {
      const opening = openSite({
        config,
        identity,
        names,
        log,
        tiers,
        manager,
        random: randomBytes,
      });
      site = await Promise.race([opening, tiers.failure, signals.signalled.then(() => null)]);
      if (site !== null) await Promise.race([signals.signalled, tiers.failure]);
    } catch (error) {
      log.error('serve.failed', { error: describeError(error) });
      code = exitCodeOf(error);
      if (error instanceof AppError) process.stderr.write(`twinsite: ${error.message}\n`);
    }
    manager.stopping();
    await stopSite(site, tiers, log);
    signals.release();
    return code;
  } finally {
    lock.release();
  }
}
