/** Rows of the index to entries and back. */
import type { EntryType, ManifestEntry, Stamp } from '../../../core/manifest.ts';
import { parentOf, type TreePath } from '../../../core/tree-path.ts';
import type { VersionVector } from '../../../core/version-vector.ts';

export interface IndexRow {
  readonly entry: ManifestEntry;
  /** Place in this site's journal; 0 when the peer has the version already. */
  readonly seq: number;
  /** observedToken of the last look; null: look again. */
  readonly seen: string | null;
  readonly ino: bigint | null;
  /** Live, but its bytes are gone without evidence of a deletion: to be healed. */
  readonly missing: boolean;
}

/** What a scan compares; cheaper than a whole row. */
export interface RowSketch {
  readonly path: TreePath;
  readonly type: EntryType;
  readonly seen: string | null;
  readonly missing: boolean;
}

export interface StoredRow {
  path: Uint8Array;
  type: number;
  deleted: number;
  size: number;
  hash: Uint8Array;
  target: Uint8Array | null;
  mode: number;
  uid: number;
  gid: number;
  mtime_ns: string;
  version: string;
  stamp: string;
  base: Uint8Array | null;
  evidence: string | null;
  seq: number;
  seen: string | null;
  ino: string | null;
  missing: number;
}

export const COLUMNS =
  'path, parent, type, deleted, size, hash, target, mode, uid, gid, mtime_ns, version, stamp, base, evidence, seq, seen, ino, missing';
/** Parameters as toStored makes them. */
export const PUT = `INSERT INTO entries (${COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
  ON CONFLICT (path) DO UPDATE SET type=excluded.type, deleted=excluded.deleted,
  size=excluded.size, hash=excluded.hash, target=excluded.target, mode=excluded.mode,
  uid=excluded.uid, gid=excluded.gid, mtime_ns=excluded.mtime_ns, version=excluded.version,
  stamp=excluded.stamp, base=excluded.base, evidence=excluded.evidence, seq=excluded.seq, seen=excluded.seen,
  ino=excluded.ino, missing=excluded.missing`;

const TYPES: readonly EntryType[] = ['file', 'dir', 'symlink'];

export function blob(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function unblob(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

export function hashBlob(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

export function hashText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function typeOf(number: number): EntryType {
  return TYPES[number] ?? 'file';
}

export function fromStored(row: StoredRow): IndexRow {
  return {
    entry: {
      path: unblob(row.path) as TreePath,
      type: typeOf(row.type),
      deleted: row.deleted === 1,
      size: row.size,
      hash: hashText(row.hash),
      target: row.target === null ? null : unblob(row.target),
      mode: row.mode,
      uid: row.uid,
      gid: row.gid,
      mtimeNs: BigInt(row.mtime_ns),
      version: JSON.parse(row.version) as VersionVector,
      stamp: JSON.parse(row.stamp) as Stamp,
      base: row.base === null ? null : hashText(row.base),
      evidence: row.evidence,
    },
    seq: row.seq,
    seen: row.seen,
    ino: row.ino === null ? null : BigInt(row.ino),
    missing: row.missing === 1,
  };
}

/** In the order of COLUMNS. */
export function toStored(row: IndexRow): (string | number | Buffer | null)[] {
  const { entry } = row;
  return [
    blob(entry.path),
    blob(parentOf(entry.path)),
    TYPES.indexOf(entry.type),
    entry.deleted ? 1 : 0,
    entry.size,
    hashBlob(entry.hash),
    entry.target === null ? null : blob(entry.target),
    entry.mode,
    entry.uid,
    entry.gid,
    entry.mtimeNs.toString(),
    JSON.stringify(entry.version),
    JSON.stringify(entry.stamp),
    entry.base === null ? null : hashBlob(entry.base),
    entry.evidence,
    row.seq,
    row.seen,
    row.ino === null ? null : row.ino.toString(),
    row.missing ? 1 : 0,
  ];
}
