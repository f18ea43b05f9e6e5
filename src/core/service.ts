/**
 * The one shape of every long-running part. There is no stop(): abort the signal, then await run().
 */
import type { Clock, Log } from './ports.ts';

export interface ServiceContext {
  /** Aborts when the service is asked to stop. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
  /** Called at the first healthy moment of a run; resets the restart back-off. */
  ready(): void;
}

export interface Service {
  readonly name: string;
  /** Resolves after `signal` aborted and all was released; rejects on failure. */
  run(context: ServiceContext): Promise<void>;
}

/** Doubling delays with a cap; jitter is the caller's random in [0,1). */
export function restartDelayMs(failures: number, random: number, capMs = 10_000): number {
  const base = Math.min(capMs, 100 * 2 ** Math.min(failures, 16));
  return Math.round(base / 2 + (base / 2) * random);
}
