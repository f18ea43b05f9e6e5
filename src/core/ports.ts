/**
 * The seams. Parts that must not know each other meet in these interfaces only; `cli/serve` joins them.
 */

import type { DepositFileRow, DepositRecord, EventRow, NewDeposit } from './deposit.ts';
import type { Epoch } from './epoch.ts';
import type { AccountName, DepositId, SiteName } from './ids.ts';

// ---------------------------------------------------------------- the machine

export interface Clock {
  /** Milliseconds that only go forward; for durations. */
  monotonicMs(): number;
  /** Milliseconds since 1970; for people, never for durations. */
  wallMs(): number;
  /** Resolves after `ms`, or at once when the signal aborts; never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, unknown>>;

/** One event name per line (`deposit.accepted`), the rest in fields. Secrets never. */
export interface Log extends Record<LogLevel, (event: string, fields?: LogFields) => void> {
  child(fields: LogFields): Log;
}

/** The one place where counters live; names without the `twinsite_` prefix. */
export interface Metrics {
  count(name: string, help: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  gauge(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void;
  observe(
    name: string,
    help: string,
    seconds: number,
    labels?: Readonly<Record<string, string>>,
  ): void;
}

export type Sha256 = (data: Uint8Array | string) => Uint8Array;

export interface Alarm {
  readonly code: string;
  readonly severity: 'warning' | 'critical';
  readonly text: string;
  /** File and heading under docs/, e.g. `operations.md#store-failed`. */
  readonly runbook: string;
}

/** Alarms are states, not messages: raised once, kept with their start time, cleared when over. */
export interface Alarms {
  raise(alarm: Alarm): void;
  clear(code: string): void;
  list(): readonly (Alarm & { readonly since: string })[];
}

// ---------------------------------------------------------------- the peer link

/**
 * One exchange with the peer: a header, then bytes both ways, each direction with its own end.
 * Not for two owners; whoever opened or accepted it must end or abort it.
 */
export interface Exchange {
  /** What the opener said it wants. Untrusted JSON: parse it. */
  readonly header: unknown;
  /** Resolves when there is room for more (back-pressure); rejects when the exchange is broken. */
  send(bytes: Uint8Array): Promise<void>;
  /** No more bytes from this side. */
  end(): Promise<void>;
  /** The peer's bytes; ends with the peer's end(); throws AppError `peer-*` when broken. Reading pauses the peer. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Breaks the exchange on both sides. Safe to call twice and after the end. */
  abort(reason: string): void;
  /** Resolves (never rejects) when both directions ended or it broke. */
  readonly closed: Promise<void>;
}

export interface ExchangeOptions {
  readonly signal?: AbortSignal;
  /** Deadline for reaching the peer and being accepted. */
  readonly timeoutMs: number;
}

export interface PeerLink {
  readonly peerSite: SiteName;
  /** Opens an exchange; rejects with AppError `peer-unreachable`, `peer-refused` or `peer-timeout`. */
  open(purpose: string, header: unknown, options: ExchangeOptions): Promise<Exchange>;
  /** One JSON question, one JSON answer, within timeoutMs in all. A peer's error arrives as AppError. */
  request(method: string, body: unknown, options: ExchangeOptions): Promise<unknown>;
  /** Takes the peer's exchanges of one purpose. The handler owns the exchange until it resolves. */
  serve(purpose: string, handler: (exchange: Exchange, signal: AbortSignal) => Promise<void>): void;
  /** Answers the peer's questions of one method; a thrown AppError reaches the peer as such. */
  answer(method: string, handler: (body: unknown, signal: AbortSignal) => Promise<unknown>): void;
  /** Monotonic time of the last authenticated byte from the peer; null before the first. */
  lastHeardMs(): number | null;
}

// ---------------------------------------------------------------- the store

export type StoreHealth = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** This site's own store, held open: all work is relative to a directory handle of the checked root. */
export interface OwnStore {
  readonly id: string;
  readonly generation: string;
  /** The path as configured; for messages only. */
  readonly root: string;
  /** An absolute path below the held root (`/proc/self/fd/N/…`), immune to a mount that vanishes. */
  at(relative: string): string;
  /** Throws AppError `store-failed` unless marker and device are still those that were checked. */
  assertSame(): Promise<void>;
  /** Puts the store in doubt, e.g. after a failed fsync; the next probe decides. */
  doubt(reason: string): void;
  health(): StoreHealth;
}

// ---------------------------------------------------------------- deposits

export interface DepositQuery {
  readonly collection?: AccountName;
  readonly depositor?: AccountName;
  readonly from?: string;
  readonly until?: string;
  readonly state?: string;
  readonly name?: string;
  /** Hex SHA-256 of a file. */
  readonly digest?: string;
  /** Only what this reader may see: own deposits, and these collections. Absent: everything. */
  readonly visibleTo?: {
    readonly depositor: AccountName;
    readonly collections: readonly AccountName[];
  };
  readonly limit: number;
  readonly cursor?: string;
}

export type CommitOutcome =
  | { readonly outcome: 'committed' }
  /** The id was here already: this is a replay. Nothing was written. */
  | { readonly outcome: 'existed' };

/** The database as the deposit server sees it. */
export interface Catalogue {
  /**
   * Writes all rows in one flushed transaction, with the node-local facts that the bytes are held
   * and an attestation is wanted. Files must be durable before it is called.
   */
  commit(deposit: NewDeposit): Promise<CommitOutcome>;
  /** The record when it is complete here; null otherwise. */
  find(id: DepositId): Promise<DepositRecord | null>;
  /** Deposits taken under this key, whatever their content. */
  findByKey(keyDigest: string): Promise<readonly DepositRecord[]>;
  list(
    query: DepositQuery,
  ): Promise<{ readonly items: readonly DepositRecord[]; readonly next: string | null }>;
  /** Writes events of any entity with the next counter; returns the rows as written. */
  append(
    entity: string,
    events: readonly { readonly kind: string; readonly body: Readonly<Record<string, unknown>> }[],
  ): Promise<readonly EventRow[]>;
  /** Calls back when events of `deposit`, `collection`, `depositor`, … were written here or arrived. */
  watch(entityKind: string, listener: () => void): () => void;
  /** All events whose entity begins with `prefix`, in fold order within each entity. */
  events(prefix: string): Promise<readonly EventRow[]>;
}

export interface Attestor {
  /**
   * Asks the peer to attest one committed deposit, in a batch with others. Resolves true when the
   * peer's signed answer is recorded durably here; false at the deadline. Never rejects.
   */
  attest(id: DepositId, timeoutMs: number): Promise<boolean>;
  /** Whether a deposit made now would be attested in time, as far as the last answers tell. */
  isAnswering(): boolean;
}

/** What a finished upload is. */
export interface UploadDigest {
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Hex. */
  readonly md5: string;
  /** Hex, one for each chunk of CHUNK_BYTES. */
  readonly chunkSha256: readonly string[];
}

/** One file on its way in: to a temp here and, while the peer keeps up, to a temp there. */
export interface DepositUpload {
  /** Resolves when both legs took the bytes. A peer leg that stalls is dropped, never waited for longer than the degrade deadline. Throws AppError `storage` on a full disk. */
  write(chunk: Uint8Array): Promise<void>;
  /** Ends the body: both temps are complete and fsynced, digests agree. */
  finish(): Promise<UploadDigest>;
  /** Puts the bytes at file.path in both stores without replacing anything; directories are fsynced. */
  publish(file: DepositFileRow): Promise<{ readonly atPeer: boolean }>;
  /** The rows are committed: the journal forgets this upload. Call after Catalogue.commit. */
  committed(): void;
  /** Removes this upload's own temps, here and at the peer. Safe at any time, more than once. */
  discard(): Promise<void>;
}

/** Deposits' bytes in the stores. Under `deposits/` the rows are the truth. */
export interface DepositBytes {
  begin(options: {
    readonly expectedBytes?: number;
    readonly signal?: AbortSignal;
  }): Promise<DepositUpload>;
  /**
   * Verified bytes of a file, from here or else from the peer; each chunk is verified before any of
   * it is given out. `end` is inclusive. Throws AppError `content-unavailable`.
   */
  read(
    file: DepositFileRow,
    range: { readonly start: number; readonly end: number } | null,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>>;
  /** True when the verified bytes are durable at file.path in this site's store; re-reads unless it just did. */
  ensureHeld(file: DepositFileRow): Promise<boolean>;
}

/** The durable list of files that a row promises and this store is not known to hold. */
export interface NeedList {
  /** Newest rows first; each with its file row. */
  next(limit: number): Promise<readonly DepositFileRow[]>;
  held(files: readonly DepositFileRow[]): Promise<void>;
  failed(file: DepositFileRow, error: string): Promise<void>;
  size(): Promise<number>;
  /** Puts every file row that is not known as held on the list; after a loss of store or database. */
  refill(): Promise<number>;
  /** Is a complete deposit row here? For the intake journal. */
  known(ids: readonly DepositId[]): Promise<ReadonlySet<DepositId>>;
  /** Calls back when rows arrived from the peer. Returns the way to stop. */
  onArrival(listener: () => void): () => void;
}

// ---------------------------------------------------------------- failover as the others see it

export type SiteState = 'starting' | 'joining' | 'paired' | 'alone' | 'draining' | 'failed';
export type PeerVerdict = 'alive' | 'suspect' | 'lost' | 'unknown';

export interface SiteView {
  readonly state: SiteState;
  readonly epoch: Epoch | null;
  readonly holder: SiteName | null;
  /** RFC 3339; when the state last changed. */
  readonly since: string;
  readonly verdict: PeerVerdict;
  readonly mayBeStale: boolean;
}

/** What heartbeats carry and the state machine reads from the engines, without knowing them. */
export interface EngineFacts {
  /** The merged tree's digest (hex) and how far this site's journal is. */
  readonly fileRoot: string;
  readonly fileSeq: number;
  /** Everything the peer's journal told is applied, as far as this site knows. */
  readonly filesDrained: boolean;
  /** Replication both ways is streaming and every relation is ready. */
  readonly databaseStreaming: boolean;
  readonly storeHealth: StoreHealth;
  readonly storeId: string | null;
  readonly load: number;
}

/** What an administrator can ask of a running site. */
export interface SiteControl {
  /** Moves the holder, to `to` or to the other site; resolves when both links stand. */
  switchover(
    to: SiteName | null,
  ): Promise<{ readonly holder: SiteName; readonly epoch: Epoch; readonly tookMs: number }>;
  /** Unready from now on; running requests finish. With `wait`, resolves when none runs. */
  drain(wait: boolean): Promise<void>;
  resume(): Promise<void>;
}
