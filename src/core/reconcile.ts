/**
 * What to do with one entry of the peer's, given what is here. Both sites reach the same outcome from
 * the same two entries, whoever hears first; the winner keeps its version as it is.
 */
import { compareStamps, type ManifestEntry, sameContent, sameMetadata } from './manifest.ts';
import { compareVectors, isZero, joinVectors } from './version-vector.ts';

export interface LocalState {
  readonly entry: ManifestEntry;
  /** The entry is live and its bytes are known to be gone: damage, not a deletion. */
  readonly missing: boolean;
}

export type Decision =
  /** The peer's entry says nothing new. */
  | { readonly kind: 'none' }
  /** The content is as it should be; the entry is written over, and the metadata where it differs. */
  | { readonly kind: 'join'; readonly entry: ManifestEntry; readonly applyMetadata: boolean }
  /** The entry's content is put in place; `displaced` says what becomes of what was there. */
  | {
      readonly kind: 'fetch';
      readonly entry: ManifestEntry;
      readonly displaced: 'trash' | 'conflict';
    }
  /** The tombstone removes what is here. */
  | { readonly kind: 'delete'; readonly entry: ManifestEntry }
  /** This site's version wins; the peer's becomes a conflict copy. */
  | { readonly kind: 'keep' };

const NONE: Decision = { kind: 'none' };

/**
 * @param local what the index holds for the path, null when it knows nothing
 * @param remote the peer's entry
 * @param isKnown whether a content hash is known from history or trash, so that replacing it loses nothing
 */
export function reconcile(
  local: LocalState | null,
  remote: ManifestEntry,
  isKnown: (hash: string) => boolean,
): Decision {
  if (!local) {
    return remote.deleted
      ? { kind: 'join', entry: remote, applyMetadata: false }
      : { kind: 'fetch', entry: remote, displaced: 'trash' };
  }
  const decision = decide(local.entry, remote, isKnown);
  return local.missing ? healed(local.entry, remote, decision) : decision;
}

/**
 * True when this site's entry stands against what the peer told, without having seen it: the peer may
 * have dropped ours for one that it has replaced or deleted since, so it is told again.
 */
export function mustTellAgain(local: ManifestEntry, remote: ManifestEntry): boolean {
  if (compareVectors(local.version, remote.version) === 'after') return false;
  if (local.deleted && remote.deleted) return false;
  return local.deleted !== remote.deleted || !sameContent(local, remote);
}

function decide(
  local: ManifestEntry,
  remote: ManifestEntry,
  isKnown: (hash: string) => boolean,
): Decision {
  if (local.deleted && remote.deleted) return bothDeleted(local, remote);
  if (remote.deleted) return tombstoneArrives(local, remote);
  if (local.deleted) return contentMeetsTombstone(local, remote);
  if (sameContent(local, remote)) return equalContent(local, remote);
  return differentContent(local, remote, isKnown);
}

function bothDeleted(local: ManifestEntry, remote: ManifestEntry): Decision {
  const order = compareVectors(local.version, remote.version);
  if (order === 'equal' || order === 'after') return NONE;
  if (order === 'before') return { kind: 'join', entry: remote, applyMetadata: false };
  const first = compareStamps(local.stamp, remote.stamp) >= 0 ? local : remote;
  const version = joinVectors(local.version, remote.version);
  return { kind: 'join', entry: { ...first, version }, applyMetadata: false };
}

/** A tombstone kills only what it has seen; content without history only if it names that content. */
function kills(tombstone: ManifestEntry, content: ManifestEntry): boolean {
  if (isZero(content.version)) return sameContent(tombstone, content);
  return compareVectors(tombstone.version, content.version) === 'after';
}

function tombstoneArrives(local: ManifestEntry, remote: ManifestEntry): Decision {
  return kills(remote, local) ? { kind: 'delete', entry: remote } : NONE;
}

function contentMeetsTombstone(local: ManifestEntry, remote: ManifestEntry): Decision {
  return kills(local, remote) ? NONE : { kind: 'fetch', entry: remote, displaced: 'trash' };
}

function equalContent(local: ManifestEntry, remote: ManifestEntry): Decision {
  const order = compareVectors(local.version, remote.version);
  if (order === 'after') return NONE;
  const metadataEqual = sameMetadata(local, remote);
  if (order === 'equal' && metadataEqual) return NONE;
  const remoteFirst = order === 'before' || compareMetadata(remote, local) > 0;
  if (order === 'equal' && !remoteFirst) return NONE;
  const version = joinVectors(local.version, remote.version);
  return remoteFirst
    ? { kind: 'join', entry: { ...remote, version }, applyMetadata: !metadataEqual }
    : { kind: 'join', entry: { ...local, version }, applyMetadata: false };
}

/** Positive when a's metadata counts. Stamps can be equal after an index was lost: then any fixed order will do. */
function compareMetadata(a: ManifestEntry, b: ManifestEntry): number {
  const stamps = compareStamps(a.stamp, b.stamp);
  if (stamps !== 0) return stamps;
  if (a.mtimeNs !== b.mtimeNs) return a.mtimeNs > b.mtimeNs ? 1 : -1;
  return a.mode - b.mode || a.uid - b.uid || a.gid - b.gid;
}

function differentContent(
  local: ManifestEntry,
  remote: ManifestEntry,
  isKnown: (hash: string) => boolean,
): Decision {
  const order = compareVectors(local.version, remote.version);
  if (order === 'after') return NONE;
  if (order === 'before') {
    // Content without history is nobody's old version: it is kept, unless the new version was written
    // on top of it or its bytes are known.
    const unknown = isZero(local.version) && remote.base !== local.hash && !isKnown(local.hash);
    return { kind: 'fetch', entry: remote, displaced: unknown ? 'conflict' : 'trash' };
  }
  return compareVersions(remote, local) > 0
    ? { kind: 'fetch', entry: remote, displaced: 'conflict' }
    : { kind: 'keep' };
}

/** Positive when a wins over concurrent b. A directory beats anything else: children live in it. */
function compareVersions(a: ManifestEntry, b: ManifestEntry): number {
  if ((a.type === 'dir') !== (b.type === 'dir')) return a.type === 'dir' ? 1 : -1;
  const stamps = compareStamps(a.stamp, b.stamp);
  if (stamps !== 0) return stamps;
  return a.hash === b.hash ? 0 : a.hash > b.hash ? 1 : -1;
}

/** Damage here: what would be left as it is has to be brought from the peer. */
function healed(local: ManifestEntry, remote: ManifestEntry, decision: Decision): Decision {
  if (decision.kind === 'delete') {
    return { kind: 'join', entry: decision.entry, applyMetadata: false };
  }
  if (decision.kind === 'fetch') return { ...decision, displaced: 'trash' };
  const entry = decision.kind === 'join' ? decision.entry : local;
  if (!remote.deleted && !entry.deleted && sameContent(entry, remote)) {
    return { kind: 'fetch', entry, displaced: 'trash' };
  }
  return decision;
}
