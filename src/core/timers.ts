/** The six timers of failover and the law that holds between them. Milliseconds throughout. */
import { AppError } from './errors.ts';
import { formatDuration } from './units.ts';

export interface Timers {
  /** Between two heartbeats. */
  readonly heartbeatMs: number;
  /** Without a heartbeat for this long the peer is a suspect. */
  readonly suspectAfterMs: number;
  /** Without a heartbeat for this long receipts say `local`; no request waits longer for the peer. */
  readonly degradeAfterMs: number;
  /** Without any byte from the peer for this long it is lost. */
  readonly lostAfterMs: number;
  /** The peer must be good for this long before a site that was alone is paired again. */
  readonly rearmAfterMs: number;
  /** A site that cannot meet its peer waits this long at its start. */
  readonly startAloneAfterMs: number;
}

export const DEFAULT_TIMERS: Timers = {
  heartbeatMs: 250,
  suspectAfterMs: 750,
  degradeAfterMs: 1_500,
  lostAfterMs: 6_000,
  rearmAfterMs: 5_000,
  startAloneAfterMs: 15_000,
};

/** What PostgreSQL's wal_sender_timeout and wal_receiver_timeout are set to. */
export const WAL_TIMEOUT_MS = 4_000;
/** The service manager kills a process that was silent for this long. */
export const WATCHDOG_MS = 15_000;

/** The first pair of values that breaks the law, as a sentence; null when all is well. */
export function timerLawViolation(timers: Timers): string | null {
  const show = formatDuration;
  for (const [flag, ms] of [
    ['--heartbeat', timers.heartbeatMs],
    ['--rearm-after', timers.rearmAfterMs],
    ['--start-alone-after', timers.startAloneAfterMs],
  ] as const) {
    if (!(ms >= 10)) return `${flag} (${show(ms)}) must be at least 10 ms`;
  }
  const { heartbeatMs, suspectAfterMs, degradeAfterMs, lostAfterMs } = timers;
  if (3 * heartbeatMs > suspectAfterMs) {
    return `--suspect-after (${show(suspectAfterMs)}) must be at least 3 × --heartbeat (${show(heartbeatMs)})`;
  }
  if (suspectAfterMs >= degradeAfterMs) {
    return `--degrade-after (${show(degradeAfterMs)}) must be more than --suspect-after (${show(suspectAfterMs)})`;
  }
  if (degradeAfterMs + 2_000 > WAL_TIMEOUT_MS) {
    return `--degrade-after (${show(degradeAfterMs)}) must be at least 2 s below the WAL timeouts (${show(WAL_TIMEOUT_MS)})`;
  }
  if (WAL_TIMEOUT_MS + 2_000 > lostAfterMs) {
    return `--lost-after (${show(lostAfterMs)}) must be at least 2 s above the WAL timeouts (${show(WAL_TIMEOUT_MS)})`;
  }
  if (lostAfterMs >= WATCHDOG_MS) {
    return `--lost-after (${show(lostAfterMs)}) must be less than the watchdog (${show(WATCHDOG_MS)})`;
  }
  return null;
}

/** Gives the timers back when they obey the law. Throws AppError `config` that names the pair that does not. */
export function checkTimers(timers: Timers): Timers {
  const violation = timerLawViolation(timers);
  if (violation !== null) throw new AppError('config', `${violation}.`);
  return timers;
}
