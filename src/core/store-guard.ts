/**
 * A store as its guard sees it. The guard (engine) and failover meet here: failover asks for fresh
 * checks and keeps epochs in stores, and never touches a store by itself.
 */
import type { Epoch } from './epoch.ts';
import type { OwnStore } from './ports.ts';
import type { Service } from './service.ts';
import type { StoreStatus } from './status.ts';

/** `.twinsite/store.json`: what makes a directory a store. */
export interface StoreMarker {
  readonly format: 1;
  readonly storeId: string;
  /** Null until a site first opens it. */
  readonly pair: string | null;
  readonly site: string | null;
  readonly generation: string;
  readonly createdAt: string;
  /** `hostname/machine-id` of the host whose site owns it. */
  readonly host: string;
}

/**
 * `full` and `read-only` can still be read; `full` counts as healthy, because only space is missing.
 * `failed` covers everything else: no answer, no marker, another store.
 */
export type StoreCondition = 'ok' | 'full' | 'read-only' | 'failed';

/** One answer of a store's probe. */
export interface StoreCheck {
  readonly root: string;
  /** Monotonic; when the question was asked, so that an age is never understated. */
  readonly atMs: number;
  readonly condition: StoreCondition;
  /** Null when the condition is ok. */
  readonly reason: string | null;
  readonly storeId: string | null;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** True when applications may be sent to this store. */
export function isUsable(check: StoreCheck | null): boolean {
  return check !== null && (check.condition === 'ok' || check.condition === 'full');
}

/** One store, probed by one child process; a store that hangs never hangs the caller. */
export interface StoreProbe {
  readonly root: string;
  /** Probes every second until stopped. */
  readonly service: Service;
  /** Asks now. Never rejects and never takes longer than the deadline. */
  check(): Promise<StoreCheck>;
  /** The latest answer; null before the first. */
  last(): StoreCheck | null;
  /** The epoch kept in the store, null when none is. Throws AppError `store-failed`. */
  readEpoch(): Promise<Epoch | null>;
  /** Durable when it resolves. Throws AppError `store-failed`; writes only to the store that was checked. */
  writeEpoch(epoch: Epoch): Promise<void>;
  /** Ends the child. The next question starts another. */
  close(): Promise<void>;
}

/** This site's own store with what failover and status need of it. */
export interface GuardedStore extends OwnStore {
  /** Probes the store, opens it again when it is back. */
  readonly service: Service;
  readonly probe: StoreProbe;
  condition(): StoreCondition;
  /** Records and files can be read, whatever writing does. */
  readable(): boolean;
  /** The peer has had its say on which store this site has, or a person had. */
  settled(): boolean;
  status(): StoreStatus;
  /** Where the held root lies, to tell two directories apart; null while none is held. */
  place(): { readonly device: string; readonly inode: string; readonly id: string } | null;
  /** Calls back when the condition changes. Returns the way to stop. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
