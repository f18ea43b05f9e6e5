/** Waiting for rows to become visible: one statement for everything that is waited for. */
import type { DepositId } from '../../../core/ids.ts';
import type { Clock } from '../../../core/ports.ts';
import type { VisibleDeposit } from './visible-rows.ts';

/** Notifications wake earlier; this is for those that are lost, and for a table copy that ends. */
const PAUSES_MS = [2, 5, 10, 20] as const;
const IDS_PER_LOOK = 256;

export interface Arrivals {
  /**
   * Resolves with the rows once they are here; null when the signal aborts first. Never rejects. Rows
   * that cannot be here yet are looked for after `delayMs`, unless something arrives before.
   */
  wait(id: DepositId, signal: AbortSignal, delayMs?: number): Promise<VisibleDeposit | null>;
}

export interface ArrivalsOptions {
  readonly read: (ids: readonly DepositId[]) => Promise<readonly VisibleDeposit[]>;
  readonly onArrival: (listener: () => void) => () => void;
  readonly clock: Clock;
  /** Told when the database could not be asked; the waiting goes on. */
  readonly failed: (error: unknown) => void;
}

export function createArrivals({ read, onArrival, clock, failed }: ArrivalsOptions): Arrivals {
  const waiting = new Map<DepositId, Set<(row: VisibleDeposit | null) => void>>();
  let wake = new AbortController();
  let isLooking = false;
  let nextLookMs = Number.POSITIVE_INFINITY;

  const lookBy = (atMs: number) => {
    if (atMs >= nextLookMs) return;
    nextLookMs = atMs;
    wake.abort();
  };
  onArrival(() => {
    if (waiting.size > 0) lookBy(clock.monotonicMs());
  });

  /** One statement for all; true when anything was found. */
  const lookOnce = async (): Promise<boolean> => {
    let isFound = false;
    const ids = [...waiting.keys()].slice(0, IDS_PER_LOOK);
    try {
      for (const row of await read(ids)) {
        const waiters = waiting.get(row.deposit.id);
        waiting.delete(row.deposit.id);
        for (const give of waiters ?? []) give(row);
        isFound = true;
      }
    } catch (error) {
      failed(error);
    }
    return isFound;
  };

  const look = async () => {
    let quiet = 0;
    while (waiting.size > 0) {
      const pauseMs = nextLookMs - clock.monotonicMs();
      if (pauseMs > 0) {
        wake = new AbortController();
        await clock.sleep(pauseMs, wake.signal);
        continue;
      }
      nextLookMs = Number.POSITIVE_INFINITY;
      quiet = (await lookOnce()) ? 0 : quiet + 1;
      const pause = PAUSES_MS[Math.max(0, Math.min(quiet, PAUSES_MS.length) - 1)] ?? 0;
      lookBy(clock.monotonicMs() + pause);
    }
    nextLookMs = Number.POSITIVE_INFINITY;
  };

  return {
    wait(id, signal, delayMs = 0) {
      if (signal.aborted) return Promise.resolve(null);
      const { promise, resolve } = Promise.withResolvers<VisibleDeposit | null>();
      const waiters = waiting.get(id) ?? new Set();
      const give = (row: VisibleDeposit | null) => {
        signal.removeEventListener('abort', giveUp);
        resolve(row);
      };
      const giveUp = () => {
        waiters.delete(give);
        if (waiters.size === 0 && waiting.get(id) === waiters) waiting.delete(id);
        resolve(null);
      };
      signal.addEventListener('abort', giveUp, { once: true });
      waiting.set(id, waiters.add(give));
      lookBy(clock.monotonicMs() + delayMs);
      if (!isLooking) {
        isLooking = true;
        void look().finally(() => {
          isLooking = false;
        });
      }
      return promise;
    },
  };
}
