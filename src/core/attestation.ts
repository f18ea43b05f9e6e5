/**
 * The peer's signed word that it durably holds deposits: rows with these digests and all their bytes,
 * in the store it names. One statement covers a batch; the text itself is what is signed and kept.
 */
import {
  compareEvents,
  type DepositFileRow,
  type DepositRow,
  depositEntity,
  durableEventId,
  type EventRow,
  rowDigestInput,
} from './deposit.ts';
import type { DepositId, SiteName } from './ids.ts';

/** Deposits in one request; bounds the statement that every one of them keeps. */
export const ATTEST_BATCH = 64;

export interface Attestation {
  readonly pairId: string;
  /** Who says it. */
  readonly site: string;
  readonly storeId: string;
  readonly storeGeneration: string;
  /** RFC 3339 by the speaker's clock. */
  readonly at: string;
  /** (deposit id, row digest in hex), by id. */
  readonly deposits: readonly (readonly [string, string])[];
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const TYPE = 'twinsite/attestation/1';

/** The text that is signed: equal attestations give equal texts. */
export function attestationText(attestation: Attestation): string {
  return JSON.stringify({
    type: TYPE,
    pair: attestation.pairId,
    site: attestation.site,
    store: attestation.storeId,
    generation: attestation.storeGeneration,
    at: attestation.at,
    deposits: [...attestation.deposits].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)),
  });
}

/** Reads a signed text; null unless it is exactly what attestationText writes. */
export function parseAttestation(text: string): Attestation | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const v = value as Readonly<Record<string, unknown>>;
  const words = [v['pair'], v['site'], v['store'], v['generation'], v['at']];
  if (!words.every((word) => typeof word === 'string') || !Array.isArray(v['deposits']))
    return null;
  const pairs = v['deposits'] as readonly unknown[];
  const isPair = (p: unknown): p is readonly [string, string] =>
    Array.isArray(p) && p.length === 2 && p.every((part) => typeof part === 'string');
  if (!pairs.every(isPair)) return null;
  const [pairId, site, storeId, storeGeneration, at] = words as [
    string,
    string,
    string,
    string,
    string,
  ];
  const parsed = { pairId, site, storeId, storeGeneration, at, deposits: pairs };
  return attestationText(parsed) === text ? parsed : null;
}

export interface AttestationExpected {
  readonly pairId: string;
  readonly peerSite: SiteName;
  /** This site's own store; both copies in one store are one copy. */
  readonly ownStoreId: string | null;
  /** Deposit id → row digest (hex) as asked. */
  readonly digests: ReadonlyMap<string, string>;
}

/**
 * Which of the deposits asked for are attested by a text whose signature is already verified; a
 * string says why none is.
 */
export function judgeAttestation(
  attestation: Attestation,
  expected: AttestationExpected,
): readonly DepositId[] | string {
  if (attestation.pairId !== expected.pairId) return 'it is for another pair';
  if (attestation.site !== expected.peerSite) return 'it is not by the peer';
  if (attestation.storeId === '') return 'it names no store';
  if (attestation.storeId === expected.ownStoreId) return 'it names this site’s own store';
  if (!TIME.test(attestation.at)) return 'its time is no time';
  return attestation.deposits
    .filter(([id, digest]) => expected.digests.get(id) === digest)
    .map(([id]) => id as DepositId);
}

/** Covers the deposit and all its files with their sizes and hashes; `sha256` gives hex. */
export function rowDigest(
  deposit: DepositRow,
  files: readonly DepositFileRow[],
  sha256: (text: string) => string,
): string {
  return sha256(rowDigestInput(deposit, files));
}

/** The `received` event that counts when one request was taken at both sites; null without any. */
export function winningReceived(events: readonly EventRow[]): EventRow | null {
  const received = events.filter((event) => event.kind === 'received').sort(compareEvents);
  return received[0] ?? null;
}

/** The one event that raises a deposit once answered `local`: the same wherever it is made. */
export function durableEvent(
  id: DepositId,
  winner: Pick<EventRow, 'counter' | 'site' | 'at'>,
): EventRow {
  return {
    id: durableEventId(id),
    entity: depositEntity(id),
    counter: winner.counter,
    site: winner.site,
    at: winner.at,
    kind: 'durable',
    body: {},
  };
}
