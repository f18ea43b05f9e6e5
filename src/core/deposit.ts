/**
 * A deposit's rows. Each row is a pure function of its key: what may differ between two takings of
 * the same request (time, site, address) lives in events with ids of their own.
 */
import {
  type AccountName,
  type DepositId,
  derivedUuid,
  type FileId,
  type SiteName,
} from './ids.ts';

/** Files are verified in chunks of this size; the last one may be shorter. */
export const CHUNK_BYTES = 4 * 1024 * 1024;

export interface DepositRow {
  readonly id: DepositId;
  readonly collection: AccountName;
  readonly depositor: AccountName;
  readonly onBehalfOf: string | null;
  readonly title: string | null;
  readonly packaging: string | null;
  /** The record is served only when this many file rows are here. */
  readonly fileCount: number;
  /** SHA-256 (hex) of the canonical request; see requestDigestInput. */
  readonly requestDigest: string;
  /** SHA-256 (hex) of (depositor, collection, Idempotency-Key); null without a key. */
  readonly keyDigest: string | null;
}

export interface DepositFileRow {
  readonly id: FileId;
  readonly depositId: DepositId;
  readonly ordinal: number;
  readonly name: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Hex. */
  readonly md5: string;
  /** SHA-256 (hex) of each chunk of CHUNK_BYTES, in order; [] for an empty file. */
  readonly chunkSha256: readonly string[];
  /** Relative to the store; follows from ids and the name alone. */
  readonly path: string;
}

/** Something that happened, at a site, to an entity such as `deposit/<id>` or `depositor/<name>`. */
export interface EventRow {
  readonly id: string;
  readonly entity: string;
  /** 1 + the highest counter that the writing site had seen for this entity. */
  readonly counter: number;
  readonly site: SiteName;
  /** Wall time, RFC 3339 UTC with milliseconds: for people, never for order. */
  readonly at: string;
  readonly kind: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What one transaction writes for a new deposit. */
export interface NewDeposit {
  readonly deposit: DepositRow;
  readonly files: readonly DepositFileRow[];
  readonly events: readonly EventRow[];
}

/** A complete deposit as this site knows it. */
export interface DepositRecord extends NewDeposit {
  /** When the peer attested it to this site; null when it has not (or when the deposit came from there). */
  readonly attestedByPeerAt: string | null;
  /** When this site vouched for it to the peer; null when it has not. */
  readonly vouchedAt: string | null;
  /** Every file's verified bytes are durable in this site's store. */
  readonly heldHere: boolean;
}

/** `deposit/<id>`: the entity under which a deposit's events are folded. */
export function depositEntity(id: DepositId): string {
  return `deposit/${id}`;
}

/** The order of events of one entity: (counter, site, id); no clock takes part. */
export function compareEvents(a: EventRow, b: EventRow): number {
  if (a.counter !== b.counter) return a.counter - b.counter;
  if (a.site !== b.site) return a.site < b.site ? -1 : 1;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** The id of a keyed deposit: equal requests give equal ids at both sites. */
export function keyedDepositId(keyDigest: string, requestDigest: string): DepositId {
  return derivedUuid('twinsite/deposit', keyDigest, requestDigest) as DepositId;
}

export function depositFileId(
  depositId: DepositId,
  ordinal: number,
  name: string,
  sha256: string,
): FileId {
  return derivedUuid('twinsite/file', depositId, String(ordinal), name, sha256) as FileId;
}

/** The one event that raises a deposit once answered `local`; same id wherever it is written. */
export function durableEventId(depositId: DepositId): string {
  return derivedUuid('twinsite/durable', depositId, 'both');
}

/** What SHA-256 is taken of for `keyDigest`. */
export function keyDigestInput(depositor: string, collection: string, key: string): string {
  return JSON.stringify(['twinsite/key', depositor, collection, key]);
}

/** What SHA-256 is taken of for `requestDigest`: everything the client asked for, canonically. */
export function requestDigestInput(request: {
  readonly collection: string;
  readonly onBehalfOf: string | null;
  readonly title: string | null;
  readonly packaging: string | null;
  readonly files: readonly {
    readonly name: string;
    readonly mediaType: string;
    readonly sha256: string;
  }[];
}): string {
  return JSON.stringify([
    'twinsite/request',
    request.collection,
    request.onBehalfOf,
    request.title,
    request.packaging,
    request.files.map((file) => [file.name, file.mediaType, file.sha256]),
  ]);
}

/** What SHA-256 is taken of for the row digest that the peer compares before it attests. */
export function rowDigestInput(deposit: DepositRow, files: readonly DepositFileRow[]): string {
  return JSON.stringify([
    'twinsite/rows',
    deposit.id,
    deposit.collection,
    deposit.depositor,
    deposit.onBehalfOf,
    deposit.title,
    deposit.packaging,
    deposit.fileCount,
    deposit.requestDigest,
    deposit.keyDigest,
    [...files]
      .sort((a, b) => a.ordinal - b.ordinal)
      .map((f) => [f.id, f.ordinal, f.name, f.mediaType, f.sizeBytes, f.sha256, f.md5, f.path]),
  ]);
}
