/** The status document of the contract; each part supplies its own section. */
import type { Alarm, PeerVerdict, SiteState } from './ports.ts';

export interface StoreStatus {
  readonly path: string;
  readonly id: string | null;
  readonly health: 'ok' | 'failed';
  readonly reason: string | null;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export type StreamHealth = 'streaming' | 'catching-up' | 'down';

export interface DatabaseStatus {
  readonly mode: 'both' | 'local';
  readonly inbound: StreamHealth;
  readonly outbound: StreamHealth;
  readonly lagBytes: number;
  readonly lagMs: number;
  readonly digestOk: boolean | null;
  readonly digestAt: string | null;
  readonly walKeptBytes: number;
  readonly walLimitBytes: number;
  readonly fullInMs: number | null;
  /** The server's version, e.g. `18.4`. */
  readonly postgres: string;
}

export interface FilesStatus {
  readonly entries: number;
  readonly bytes: number;
  readonly pendingIn: number;
  readonly pendingOut: number;
  readonly oldestPendingMs: number;
  readonly root: string;
  readonly lastRootMatchAt: string | null;
  readonly lastFullScanAt: string | null;
  readonly conflicts: number;
  readonly unclaimed: number;
  readonly healedMissing: number;
  readonly rowsWithoutBytes: number;
  readonly heldDeletes: number;
  readonly trash: {
    readonly entries: number;
    readonly bytes: number;
    readonly oldestAt: string | null;
  };
  readonly sync: {
    readonly phase: 'idle' | 'first' | 'catch-up';
    readonly filesDone: number;
    readonly filesTotal: number;
    readonly bytesDone: number;
    readonly bytesTotal: number;
    readonly etaMs: number | null;
  };
  readonly scrub: {
    readonly lastFullAt: string | null;
    readonly coverage: number;
    readonly rotFound: number;
    readonly rotHealed: number;
  };
}

export interface PeerStatus {
  readonly verdict: PeerVerdict;
  readonly url: string;
  readonly rttMs: number | null;
  readonly lastHeardMs: number | null;
  readonly clockSkewMs: number | null;
  readonly version: string | null;
}

export interface StatusDocument {
  readonly site: string;
  readonly peerSite: string | null;
  readonly state: SiteState;
  /** The epoch's number; its site is `holder`. 0 before the pair ever met. */
  readonly epoch: number;
  readonly holder: string | null;
  readonly since: string;
  readonly startedAt: string;
  readonly version: string;
  readonly protocol: number;
  readonly ready: boolean;
  readonly readyRead: boolean;
  readonly mayBeStale: boolean;
  readonly durability: 'both' | 'local';
  readonly load: number;
  readonly filestore: {
    readonly path: string;
    readonly target: string | null;
    readonly store: string | null;
  };
  readonly store: StoreStatus;
  readonly peerStore: StoreStatus | null;
  readonly peer: PeerStatus | null;
  readonly files: FilesStatus;
  readonly database: DatabaseStatus;
  readonly alarms: readonly (Alarm & { readonly since: string })[];
}
