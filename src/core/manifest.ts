/** What a site says about one path: content, metadata, version. A deleted path is a tombstone. */
import { compareEpochs } from './epoch.ts';
import type { SiteName } from './ids.ts';
import type { TreePath } from './tree-path.ts';
import { isZero, type VersionVector } from './version-vector.ts';

export type EntryType = 'file' | 'dir' | 'symlink';

/** Who wrote a version, as things stood when it was written. Decides conflicts; never a clock. */
export interface Stamp {
  readonly epochNumber: number;
  readonly epochSite: SiteName;
  /** The writer was the holder of that epoch. */
  readonly holder: boolean;
  readonly seq: number;
  readonly site: SiteName;
}

export interface ManifestEntry {
  readonly path: TreePath;
  readonly type: EntryType;
  readonly deleted: boolean;
  /** Bytes; 0 for a directory. Of a tombstone: of the content that it names. */
  readonly size: number;
  /** SHA-256 (hex) of the content, or of a symlink's target; empty for a directory. */
  readonly hash: string;
  /** A symlink's target, bytes as latin-1; null for the others. */
  readonly target: string | null;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since 1970 of a file; 0 for directories and symlinks, whose times are not kept. */
  readonly mtimeNs: bigint;
  readonly version: VersionVector;
  readonly stamp: Stamp;
  /**
   * The hash of the other site's (or nobody's) version that this one was written on top of: whoever
   * holds that content without history knows by it that it is not lost. Null when there was none.
   */
  readonly base: string | null;
  /** Of a tombstone: what made the absence a deletion. */
  readonly evidence: string | null;
}

/** Positive when a wins: (epoch number, epoch site, holder bit, seq, site), a total order. */
export function compareStamps(a: Stamp, b: Stamp): number {
  const epochs = compareEpochs(
    { number: a.epochNumber, site: a.epochSite },
    { number: b.epochNumber, site: b.epochSite },
  );
  if (epochs !== 0) return epochs;
  if (a.holder !== b.holder) return a.holder ? 1 : -1;
  if (a.seq !== b.seq) return a.seq - b.seq;
  if (a.site === b.site) return 0;
  return a.site > b.site ? 1 : -1;
}

export function sameContent(
  a: Pick<ManifestEntry, 'type' | 'hash'>,
  b: Pick<ManifestEntry, 'type' | 'hash'>,
): boolean {
  return a.type === b.type && a.hash === b.hash;
}

export function sameMetadata(a: ManifestEntry, b: ManifestEntry): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    (a.type !== 'file' || a.mtimeNs === b.mtimeNs)
  );
}

/** The base of a version written at `site` on top of `before`. */
export function baseOf(before: ManifestEntry | null, site: string): string | null {
  if (before?.type !== 'file') return null;
  return isZero(before.version) || before.stamp.site !== site ? before.hash : before.base;
}

/** What the tree's digest is taken of. Versions and tombstones take no part. */
export function digestInput(entry: ManifestEntry): string {
  return JSON.stringify([
    entry.path,
    entry.type,
    entry.hash,
    entry.size,
    entry.mode,
    entry.uid,
    entry.gid,
    entry.type === 'file' ? entry.mtimeNs.toString() : '0',
  ]);
}
