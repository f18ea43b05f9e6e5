import { systemClock } from '../../platform/clock.ts';

const POLL_MS = 50;

/** What was waited for did not come. */
export class WaitError extends Error {
  override readonly name = 'WaitError';
}

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly everyMs?: number;
  readonly signal?: AbortSignal;
  /** What is seen instead, for the message. */
  readonly seen?: () => string;
}

/** Polls until `probe` gives a value; null and false mean not yet. Throws WaitError at the deadline. */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | null | false> | T | null | false,
  options: WaitOptions,
): Promise<T> {
  const end = systemClock.monotonicMs() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const value = await probe();
    if (value !== null && value !== false) return value;
    if (systemClock.monotonicMs() > end) {
      const seen = options.seen ? `; seen: ${options.seen()}` : '';
      throw new WaitError(`expected within ${options.timeoutMs / 1000} s: ${what}${seen}`);
    }
    await systemClock.sleep(options.everyMs ?? POLL_MS, options.signal);
  }
}
