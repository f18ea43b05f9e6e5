/** What every piece of this folder is given; made once by createDepositBytes. */
import type { DepositFileRow } from '../../../core/deposit.ts';
import type {
  Alarms,
  Clock,
  Log,
  Metrics,
  NeedList,
  OwnStore,
  PeerLink,
} from '../../../core/ports.ts';
import type { createBufferGarbage } from './buffer-garbage.ts';

export interface DepositBytesOptions {
  readonly store: OwnStore;
  /** Null when this site runs alone by configuration. */
  readonly link: PeerLink | null;
  readonly needs: NeedList;
  /** Local disk of this site; holds the intake journal. */
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly alarms: Alarms;
  /** How long a peer may take nothing before it is left behind. */
  readonly degradeAfterMs: number;
  /** Share of the store's blocks (0..1) that uploads leave free. */
  readonly minFreeRatio: number;
  /** Whether it is worth asking the peer at all now. */
  readonly peerAlive: () => boolean;
  /** Called at each crash point by name; tests stop the process there. */
  readonly failpoint?: (name: Failpoint) => void;
  /** Overrides of the waits of the background services, in milliseconds; for tests. */
  readonly pace?: Partial<Pace>;
}

/** Crash points of the durable sequence, in the order in which they are passed. */
export type Failpoint =
  | 'temp-written'
  | 'temp-synced'
  | 'journal-written'
  | 'directories-made'
  | 'renamed'
  | 'directories-synced'
  | 'published';

export interface Pace {
  /** Idle time between looks at the need list. */
  readonly healEveryMs: number;
  /** Idle time between looks at unfinished intake. */
  readonly judgeEveryMs: number;
  /** Age that an unfinished intake must have before it is judged. */
  readonly judgeAfterMs: number;
  /** Idle time between audits of `deposits/`. */
  readonly auditEveryMs: number;
  /** First delay before a stalled peer's store is probed again; doubles up to 30 s. */
  readonly probeAfterMs: number;
  /** Longest time for one step in the own store; then the store is in doubt. */
  readonly storeDeadlineMs: number;
}

export const DEFAULT_PACE: Pace = {
  healEveryMs: 5000,
  judgeEveryMs: 15_000,
  judgeAfterMs: 10_000,
  auditEveryMs: 3_600_000,
  probeAfterMs: 500,
  storeDeadlineMs: 60_000,
};

export interface DepositContext extends Omit<DepositBytesOptions, 'pace'> {
  readonly failpoint: (name: Failpoint) => void;
  readonly pace: Pace;
  readonly garbage: ReturnType<typeof createBufferGarbage>;
  /** Begins the name of every temp of this process; another's temps are leftovers. */
  readonly tempTag: string;
}

/** What placing a file needs to know of its row. */
export type PlacedFile = Pick<
  DepositFileRow,
  'id' | 'depositId' | 'name' | 'path' | 'sizeBytes' | 'sha256'
>;

export type IntakeRole = 'origin' | 'peer';

export const TEMP_DIRECTORY = '.twinsite/tmp';
export const TRASH_DIRECTORY = '.twinsite/trash';
