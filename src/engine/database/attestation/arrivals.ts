/** Waiting for rows to become visible: one statement for everything that is waited for. */
import type { DepositId } from '../../../core/ids.ts';
import type { Clock } from '../../../core/ports.ts';
import type { VisibleDeposit } from './visible-rows.ts';

/** Notifications wake earlier; this is for those that are lost, and for a table copy that ends. */
const PAUSES_MS = [2, 5, 10, 20] as const;
const IDS_PER_LOOK = 256;

export interface Arrivals {
  /** Resolves with the rows once they are here; null when the signal aborts first. Never rejects. */
  wait(id: DepositId, signal: AbortSignal): Promise<VisibleDeposit | null>;
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
  let isNew = false;

  const stir = () => {
    isNew = true;
    wake.abort();
  };
  onArrival(() => {
    if (waiting.size > 0) stir();
  });

  const look = async () => {
    let quiet = 0;
    while (waiting.size > 0) {
      isNew = false;
      wake = new AbortController();
      const ids = [...waiting.keys()].slice(0, IDS_PER_LOOK);
      let found = 0;
      try {
        for (const row of await read(ids)) {
          found += 1;
          const waiters = waiting.get(row.deposit.id);
          waiting.delete(row.deposit.id);
          for (const give of waiters ?? []) give(row);
        }
      } catch (error) {
        failed(error);
      }
      quiet = found > 0 ? 0 : Math.min(quiet + 1, PAUSES_MS.length);
      const pauseMs = PAUSES_MS[Math.max(0, quiet - 1)] ?? PAUSES_MS[0];
      if (!isNew && waiting.size > 0) await clock.sleep(pauseMs, wake.signal);
    }
  };

  return {
    wait(id, signal) {
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
      stir();
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
