/** Taking over and yielding: durable order first, then the link. */
import { type Epoch, formatEpoch } from '../core/epoch.ts';
import { AppError } from '../core/errors.ts';
import type { Clock, Log } from '../core/ports.ts';
import { type GuardedStore, isUsable } from '../core/store-guard.ts';
import { withDeadline } from './deadline.ts';
import type { EpochStore } from './epoch-store.ts';
import type { LinkKeeper } from './link-keeper.ts';

/** For each step of a take over; the store's own work has a shorter one in its child. */
const STEP_DEADLINE_MS = 5_000;

export interface HolderActions {
  /**
   * Check → persist the epoch (in --data and the own store) → check → flip. Throws AppError when a
   * step fails; nothing is then announced, and a retry begins at the first step with the same epoch.
   */
  takeOver(epoch: Epoch, because: string, lag: Readonly<Record<string, unknown>>): Promise<void>;
  /** Persists an epoch of the peer's and flips; merging goes on by itself. Resolves true when the link stands. */
  follow(epoch: Epoch): Promise<boolean>;
}

export function createHolderActions(options: {
  readonly ownStore: GuardedStore;
  readonly epochs: EpochStore;
  readonly keeper: LinkKeeper;
  readonly clock: Clock;
  readonly log: Log;
  /** For tests: called at each crash point. */
  readonly crashPoint?: (name: string) => void;
}): HolderActions {
  const { ownStore, epochs, keeper, clock, log } = options;
  const step = <T>(work: Promise<T>, what: string): Promise<T> =>
    withDeadline(work, STEP_DEADLINE_MS, clock, what);
  return {
    async takeOver(epoch, because, lag) {
      const check = await ownStore.probe.check();
      if (!isUsable(check) || !ownStore.health().ok) {
        throw new AppError(
          'store-failed',
          `This site cannot take over: its store ${check.root} ${check.reason ?? 'is in doubt'}.`,
        );
      }
      await step(epochs.persist(epoch, 'required'), 'Writing the epoch');
      // A crash here: the epoch names this site and the link is as before; the next start asserts it.
      options.crashPoint?.('take-over:persisted');
      const stands = await step(keeper.assert('take over'), 'Flipping the link');
      log.info('failover.took-over', {
        epoch: formatEpoch(epoch),
        because,
        linkStands: stands,
        ...lag,
      });
    },
    async follow(epoch) {
      const from = epochs.current();
      await step(epochs.persist(epoch, 'best-effort'), 'Writing the epoch');
      // A crash here: the link is still at the old holder's store; the next start asserts it.
      options.crashPoint?.('yield:persisted');
      const stands = await step(keeper.assert('yield'), 'Flipping the link');
      log.info('failover.followed', {
        from: from === null ? null : formatEpoch(from),
        epoch: formatEpoch(epoch),
        holder: epoch.site,
        linkStands: stands,
      });
      return stands;
    },
  };
}
