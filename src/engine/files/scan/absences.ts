/**
 * Turns absences into tombstones, only with evidence (design §6): a live event that was checked, a scan
 * in custody behind a watcher barrier, or the same inode under another name. Everything else is damage.
 */
import { systemCode } from '../../../core/errors.ts';
import { nameOf, parentOf, ROOT, type TreePath } from '../../../core/tree-path.ts';
import type { IndexRow } from '../index/rows.ts';
import { admit, type FilesContext, tellHeld, wakeApply } from './context.ts';
import { look } from './look.ts';
import { OpenDirectories } from './open-directories.ts';
import { recordDeletion, recordMissing } from './record.ts';

export type AbsenceSource = 'event' | 'scan';

const ROWS_PER_WRITE = 500;
/** Without a watcher: a second look this much later. */
const SECOND_LOOK_MS = 1_000;

/** Paths seen absent by a first scan: nobody held the store since they were last seen. */
export function takeAsDamage(context: FilesContext, paths: readonly TreePath[]): void {
  context.index.write(() => {
    for (const path of paths) {
      for (const below of [path, ...context.index.below(path)]) recordMissing(context, below);
    }
  });
  if (paths.length > 0) wakeApply(context);
}

/** Records deletions for the paths that are truly absent. Throws when the store is in doubt. */
export async function takeAsDeletions(
  context: FilesContext,
  paths: readonly TreePath[],
  source: AbsenceSource,
  signal: AbortSignal,
): Promise<void> {
  if (paths.length === 0) return;
  if (source === 'scan' && !(await context.barrier(signal))) {
    await context.clock.sleep(SECOND_LOOK_MS, signal);
  }
  if (signal.aborted) return;
  await context.store.assertSame();
  const locked = paths.filter((path) => context.locks.tryHold(path));
  try {
    const confirmed = await confirm(context, locked);
    await context.store.assertSame();
    publish(context, confirmed, source);
  } finally {
    for (const path of locked) context.locks.release(path);
    for (const path of paths) {
      // Somebody works on it: its absence is looked at again.
      if (!locked.includes(path))
        context.candidates.add(path, source === 'event' ? 'event' : 'hint');
    }
  }
}

async function confirm(
  context: FilesContext,
  paths: readonly TreePath[],
): Promise<readonly TreePath[]> {
  await using directories = new OpenDirectories(context.store);
  const all = new Set<TreePath>();
  for (const path of paths) {
    if (!(await isGone(directories, path))) continue;
    all.add(path);
    for (const below of context.index.below(path)) all.add(below);
  }
  return [...all];
}

/** Absent, while its parent is there and readable, or is gone itself in the same way. */
async function isGone(directories: OpenDirectories, path: TreePath): Promise<boolean> {
  try {
    const found = await directories.use(parentOf(path), (directory) =>
      look(directory, nameOf(path)),
    );
    return found.kind === 'absent';
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOTDIR') return true;
    if (code !== 'ENOENT' || parentOf(path) === ROOT) return false;
    return isGone(directories, parentOf(path));
  }
}

function publish(context: FilesContext, paths: readonly TreePath[], source: AbsenceSource): void {
  const { index } = context;
  const rows = paths
    .map((path) => index.get(path))
    .filter((row): row is IndexRow => row !== null && !row.entry.deleted && !row.missing);
  // Children before their parents, so that the peer meets them in the order it can apply.
  rows.sort((a, b) => (a.entry.path < b.entry.path ? 1 : -1));
  const isMove = (row: IndexRow) => index.isElsewhere(row);
  const waiting = rows.filter((row) => index.held.kindOf(row.entry.path, 'out') === null);
  let admitted = admit(context, waiting.filter((row) => !isMove(row)).length);
  let held = false;
  for (let at = 0; at < waiting.length; at += ROWS_PER_WRITE) {
    index.write(() => {
      for (const row of waiting.slice(at, at + ROWS_PER_WRITE)) {
        const { path } = row.entry;
        if (isMove(row)) recordDeletion(context, path, 'renamed');
        else if (admitted > 0) {
          admitted -= 1;
          recordDeletion(context, path, source);
        } else {
          index.held.add(path, 'out', 'delete');
          held = true;
        }
      }
    });
  }
  if (held) tellHeld(context);
  context.journalGrew.wake();
}
