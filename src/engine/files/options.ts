/** What the file engine is built from. */
import type { SiteName } from '../../core/ids.ts';
import type { BrakeLimits } from '../../core/mass-delete.ts';
import type { Alarms, Clock, Log, Metrics, OwnStore, PeerLink } from '../../core/ports.ts';
import type { TrashLimits } from './apply/trash-keeper.ts';
import type { WriterEpoch } from './scan/context.ts';
import type { WatcherTimes } from './watcher/watcher.ts';

export interface FileEngineOptions {
  readonly dataDir: string;
  readonly store: OwnStore;
  /** Null when the site runs without a peer. */
  readonly link: PeerLink | null;
  readonly pairSecret: string;
  readonly site: SiteName;
  /** The epoch as it is now; stamped into each change. */
  readonly writerEpoch: () => WriterEpoch;
  readonly settleMs: number;
  readonly ignore: readonly string[];
  readonly massDelete: BrakeLimits;
  readonly trash: TrashLimits;
  readonly owners?: 'auto' | 'on' | 'off';
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly alarms: Alarms;
  /** What the deposits' part counts for the same section of the status. */
  readonly deposits?: () => { readonly unclaimed: number; readonly rowsWithoutBytes: number };
  readonly random?: () => number;
  /** `off`: changes are found by scans only. */
  readonly watcher?: 'on' | 'off';
  readonly watcherTimes?: WatcherTimes;
}
