/** What a look at a file tells: is it unchanged, is it quiet, which metadata did someone change. */
import type { EntryType, ManifestEntry } from './manifest.ts';

/** A stat as far as it matters here. */
export interface Observed {
  readonly type: EntryType;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

const MS_IN_NS = 1_000_000n;
const SECOND_IN_NS = 1_000_000_000n;
/** Clocks of file systems tick at least this often, unless they keep whole seconds only. */
const FINE_TICK_NS = 20n * MS_IN_NS;

/**
 * The stat as one comparable text. Of a directory only what is replicated counts: its times and size
 * move with every child.
 */
export function observedToken(seen: Observed): string {
  const rights = `${seen.mode}:${seen.uid}:${seen.gid}`;
  if (seen.type === 'dir') return `d:${rights}`;
  const kind = seen.type === 'file' ? 'f' : 'l';
  return `${kind}:${rights}:${seen.ino}:${seen.size}:${seen.mtimeNs}:${seen.ctimeNs}`;
}

interface SeenFields {
  readonly type: EntryType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
}

/** The fields of a token; null when it is not one. */
export function parseToken(token: string): SeenFields | null {
  const [kind, mode, uid, gid, ino = '0', size = '0', mtimeNs = '0'] = token.split(':');
  const type = kind === 'd' ? 'dir' : kind === 'f' ? 'file' : kind === 'l' ? 'symlink' : null;
  if (type === null || mode === undefined || uid === undefined || gid === undefined) return null;
  return {
    type,
    mode: Number(mode),
    uid: Number(uid),
    gid: Number(gid),
    ino: BigInt(ino),
    size: Number(size),
    mtimeNs: BigInt(mtimeNs),
  };
}

/** The same file with the same bytes as far as a stat can tell; a rename moves only ctime. */
export function sameFile(a: Observed, b: Observed): boolean {
  return a.type === b.type && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs;
}

/** True when nobody wrote for `settleMs`, by the file's own time. A time in the future tells nothing. */
export function isQuiet(seen: Observed, wallMs: number, settleMs: number): boolean {
  const age = BigInt(Math.round(wallMs)) * MS_IN_NS - seen.mtimeNs;
  return age >= BigInt(settleMs) * MS_IN_NS;
}

/** How long until it may be quiet, at most `settleMs`. */
export function quietInMs(seen: Observed, wallMs: number, settleMs: number): number {
  const ageMs = Number(BigInt(Math.round(wallMs)) - seen.mtimeNs / MS_IN_NS);
  return ageMs < 0 ? settleMs : Math.max(1, Math.min(settleMs, settleMs - ageMs));
}

/**
 * True when a write right after the reading could leave the same stat: the time stamp is as young as
 * the file system's clock is coarse. Such a file is read again later.
 */
export function isRacy(seen: Observed, readAtWallMs: number): boolean {
  const age = BigInt(Math.round(readAtWallMs)) * MS_IN_NS - seen.mtimeNs;
  const tick = seen.mtimeNs % SECOND_IN_NS === 0n ? 2n * SECOND_IN_NS : FINE_TICK_NS;
  return age >= 0n && age < tick;
}

type Metadata = Pick<ManifestEntry, 'mode' | 'uid' | 'gid' | 'mtimeNs'>;

/**
 * The manifest's metadata after a look: a field changes only where the file differs from how it was
 * last seen, so that what could not be applied here (rights, granularity, umask) never echoes back.
 */
export function mergedMetadata(
  entry: ManifestEntry,
  token: string | null,
  now: Observed,
): Metadata {
  const before = token === null ? null : parseToken(token);
  const mtimeNs = now.type === 'file' ? now.mtimeNs : 0n;
  if (!before || before.type !== now.type) {
    return { mode: now.mode, uid: now.uid, gid: now.gid, mtimeNs };
  }
  return {
    mode: before.mode === now.mode ? entry.mode : now.mode,
    uid: before.uid === now.uid ? entry.uid : now.uid,
    gid: before.gid === now.gid ? entry.gid : now.gid,
    mtimeNs: now.type === 'file' && before.mtimeNs !== now.mtimeNs ? now.mtimeNs : entry.mtimeNs,
  };
}
