/**
 * Writes what was seen here into the index and the journal. Each function belongs into
 * FileIndex.write and is told only what was checked: a hash of a file that stood still, an absence
 * with evidence.
 */
import { baseOf, type ManifestEntry, sameContent } from '../../../core/manifest.ts';
import { reconcile } from '../../../core/reconcile.ts';
import {
  isRacy,
  mergedMetadata,
  type Observed,
  observedToken,
} from '../../../core/scan-judgement.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import { bumpVector, joinVectors } from '../../../core/version-vector.ts';
import type { IndexRow } from '../index/rows.ts';
import type { Content } from './content.ts';
import {
  admit,
  type FilesContext,
  isCacheLost,
  isOldFile,
  ownWriter,
  stampNow,
  tellHeld,
} from './context.ts';

/** `changed`: the journal grew. `adopted`: it is what the peer told, put here before a crash. */
export type Recorded = 'same' | 'changed' | 'adopted' | 'held' | 'damaged';

/** A token that makes the next look read the file again; its fields still count as seen. */
export function seenToken(context: FilesContext, seen: Observed): string {
  const token = observedToken(seen);
  return seen.type === 'file' && isRacy(seen, context.clock.wallMs()) ? `~${token}` : token;
}

function plain(token: string | null): string | null {
  return token?.startsWith('~') ? token.slice(1) : token;
}

/** What is at a path now. */
export function recordPresence(
  context: FilesContext,
  path: TreePath,
  seen: Observed,
  content: Content,
): Recorded {
  const { index } = context;
  const row = index.get(path);
  const now = {
    type: seen.type,
    hash: content.hash,
    target: content.target,
    size: seen.type === 'dir' ? 0 : content.size,
  };
  if (row && !row.entry.deleted && sameContent(row.entry, now)) {
    return recordSameContent(context, row, seen);
  }
  if (adoptNeeded(context, row, path, seen, now)) return 'adopted';
  if (row && isDamage(context, row)) return 'damaged';
  if (row && (isHeldOverwrite(context, row) || !emptied(context, row, seen))) return 'held';
  const fresh = mergedMetadata(
    row && !row.entry.deleted ? row.entry : emptyEntry(context, path),
    row && !row.entry.deleted ? plain(row.seen) : null,
    seen,
  );
  const seq = index.nextSeq();
  index.put({
    entry: {
      path,
      ...now,
      ...fresh,
      deleted: false,
      version: versionOf(context, row, seq),
      stamp: stampNow(context, seq),
      base: row && !row.entry.deleted ? baseOf(row.entry, context.site) : null,
      evidence: null,
    },
    seq,
    seen: seenToken(context, seen),
    ino: seen.ino,
    missing: false,
  });
  return 'changed';
}

function recordSameContent(context: FilesContext, row: IndexRow, seen: Observed): Recorded {
  const { index } = context;
  const { path } = row.entry;
  index.held.remove(path, 'out');
  const metadata = mergedMetadata(row.entry, plain(row.seen), seen);
  const changed =
    row.seen !== null &&
    (metadata.mode !== row.entry.mode ||
      metadata.uid !== row.entry.uid ||
      metadata.gid !== row.entry.gid ||
      metadata.mtimeNs !== row.entry.mtimeNs);
  if (row.missing) {
    index.setMissing(path, false);
    if (index.need.get(path)?.heal) index.need.remove(path);
  }
  if (!changed) {
    index.setSeen(path, seenToken(context, seen), seen.ino);
    return 'same';
  }
  const seq = index.nextSeq();
  index.put({
    entry: {
      ...row.entry,
      ...metadata,
      base: baseOf(row.entry, context.site),
      version: bumpVector(row.entry.version, ownWriter(context), seq),
      stamp: stampNow(context, seq),
    },
    seq,
    seen: seenToken(context, seen),
    ino: seen.ino,
    missing: false,
  });
  return 'changed';
}

/**
 * The peer's version was put in place and the index did not hear of it (a crash in between): the same
 * content with the same metadata, which the need list still asks for, is no edit.
 */
function adoptNeeded(
  context: FilesContext,
  row: IndexRow | null,
  path: TreePath,
  seen: Observed,
  now: Pick<ManifestEntry, 'type' | 'hash'>,
): boolean {
  const { index } = context;
  const need = index.need.get(path);
  if (!need || need.entry.deleted || !sameContent(need.entry, now)) return false;
  if (need.entry.mode !== seen.mode && seen.type !== 'symlink') return false;
  if (seen.type === 'file' && need.entry.mtimeNs !== seen.mtimeNs) return false;
  const decision = reconcile(row, need.entry, () => true);
  if (decision.kind !== 'fetch') return false;
  index.need.remove(path);
  index.put({
    entry: decision.entry,
    seq: 0,
    seen: seenToken(context, seen),
    ino: seen.ino,
    missing: false,
  });
  return true;
}

/**
 * A file or symlink in place of a directory says that nothing is in the directory any more: that is
 * told first. False when it is too much for the brake.
 */
function emptied(context: FilesContext, row: IndexRow, seen: Observed): boolean {
  const { index } = context;
  const { entry } = row;
  if (entry.deleted || entry.type !== 'dir' || seen.type === 'dir') return true;
  const below = index.below(entry.path);
  const counted = below.filter((path) => {
    const child = index.get(path);
    return !child || !index.isElsewhere(child);
  });
  if (admit(context, counted.length) < counted.length) {
    index.held.add(entry.path, 'out', 'overwrite');
    tellHeld(context);
    return false;
  }
  for (const path of below.toReversed()) recordDeletion(context, path, 'replaced');
  return true;
}

function isHeldOverwrite(context: FilesContext, row: IndexRow): boolean {
  const { index } = context;
  const { path } = row.entry;
  if (row.entry.deleted || row.entry.type !== 'file' || row.missing) return false;
  const held = index.held.kindOf(path, 'out');
  if (held === 'overwrite') return true;
  // What was held as deleted is there again, with other content.
  if (held === 'delete') index.held.remove(path, 'out');
  if (!isOldFile(context, row.entry.mtimeNs) || admit(context, 1) === 1) return false;
  index.held.add(path, 'out', 'overwrite');
  tellHeld(context);
  return true;
}

/**
 * After the page cache was lost, what differs may be half of a write: it is damage, and the version
 * that both sites knew takes its place again. What stands there is kept as a conflict copy then.
 */
function isDamage(context: FilesContext, row: IndexRow): boolean {
  const { index } = context;
  if (row.entry.deleted || !isCacheLost(context)) return false;
  if (context.figures.scanned && !row.missing) return false;
  index.setMissing(row.entry.path, true);
  index.need.add(row.entry, true);
  return true;
}

/**
 * The version of new content. Without history (first scan of an incarnation) it is the zero vector:
 * nobody knows how old it is.
 */
function versionOf(context: FilesContext, row: IndexRow | null, seq: number) {
  const { index } = context;
  const known = row !== null && !row.entry.deleted;
  if (!known && index.meta.get('history') === null) {
    if (row) index.need.add(row.entry);
    return {};
  }
  return bumpVector(row?.entry.version ?? {}, ownWriter(context), seq);
}

/** The tombstone of a live entry whose absence has evidence. */
export function recordDeletion(context: FilesContext, path: TreePath, evidence: string): boolean {
  const { index } = context;
  const row = index.get(path);
  if (!row || row.entry.deleted) return false;
  const seq = index.nextSeq();
  if (index.need.get(path)?.heal) index.need.remove(path);
  index.put({
    entry: {
      ...row.entry,
      deleted: true,
      version: bumpVector(row.entry.version, ownWriter(context), seq),
      stamp: stampNow(context, seq),
      evidence,
    },
    seq,
    seen: null,
    ino: null,
    missing: false,
  });
  return true;
}

/**
 * Writes an entry again as a change made here, on top of `seen` too: a directory that must live on
 * because something lives in it, or content that nobody else holds.
 */
export function recordAgain(
  context: FilesContext,
  row: IndexRow,
  seen: ManifestEntry | null,
): void {
  const seq = context.index.nextSeq();
  const base = seen ? joinVectors(row.entry.version, seen.version) : row.entry.version;
  context.index.put({
    ...row,
    entry: {
      ...row.entry,
      deleted: false,
      evidence: null,
      version: bumpVector(base, ownWriter(context), seq),
      stamp: stampNow(context, seq),
    },
    seq,
  });
}

/** The same version, told once more: the peer may have dropped it for one it no longer has. */
export function tellAgain(context: FilesContext, row: IndexRow): void {
  const { index } = context;
  // Not recorded at the peer yet: it will be told anyway.
  if (row.seq > index.meta.number('acked_seq')) return;
  index.put({ ...row, seq: index.nextSeq() }, row);
}

/** Damage: live, and gone without evidence. It is asked back from the peer, never published. */
export function recordMissing(context: FilesContext, path: TreePath): void {
  const { index } = context;
  const row = index.get(path);
  if (!row || row.entry.deleted || row.missing || index.held.kindOf(path, 'out') !== null) return;
  index.setMissing(path, true);
  index.need.add(row.entry, true);
}

function emptyEntry(context: FilesContext, path: TreePath): ManifestEntry {
  return {
    path,
    type: 'file',
    deleted: false,
    size: 0,
    hash: '',
    target: null,
    mode: 0,
    uid: 0,
    gid: 0,
    mtimeNs: 0n,
    version: {},
    stamp: stampNow(context, 0),
    base: null,
    evidence: null,
  };
}
