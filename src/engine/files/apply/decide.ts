/** Turns items of the need list into tasks; what needs no work on the disk is written at once. */
import { mustTellAgain, reconcile } from '../../../core/reconcile.ts';
import { compareVectors } from '../../../core/version-vector.ts';
import type { NeedItem } from '../index/need-list.ts';
import type { IndexRow } from '../index/rows.ts';
import { admit, type FilesContext, isOldFile, tellHeld } from '../scan/context.ts';
import { tellAgain } from '../scan/record.ts';
import type { Task } from './task.ts';

/**
 * The journal number of a row after the peer's entry was taken: none when the peer has that very
 * version; what the peer does not have yet stays in the journal.
 */
export function seqAfter(task: Pick<Task, 'item' | 'entry' | 'row'>): number {
  const { item, entry, row } = task;
  if (item.heal) return row?.seq ?? 0;
  const same = compareVectors(entry.version, item.entry.version) === 'equal';
  return same ? 0 : (row?.seq ?? 0);
}

/** One task per item that asks for work on the disk. */
export function decideItems(
  context: FilesContext,
  items: readonly NeedItem[],
  triesOf: (item: NeedItem) => number,
): readonly Task[] {
  const { index } = context;
  const tasks: Task[] = [];
  index.write(() => {
    for (const item of items) {
      const { path } = item.entry;
      const row = index.get(path);
      const decision = reconcile(row, item.entry, (hash) => index.isKnown(hash, path));
      const base = { item, row, tries: triesOf(item), displaced: 'trash' as const };
      if (decision.kind === 'none' || decision.kind === 'keep') {
        // The peer keeps a conflict's loser and tells so; nothing is to be done about the entry.
        if (row && !item.heal && mustTellAgain(row.entry, item.entry)) tellAgain(context, row);
        index.need.remove(path);
        if (row?.missing && !item.heal) index.need.add(row.entry, true);
      } else if (decision.kind === 'fetch') {
        tasks.push({
          ...base,
          entry: decision.entry,
          action: 'place',
          displaced: decision.displaced,
        });
      } else if (decision.kind === 'delete') {
        tasks.push({ ...base, entry: decision.entry, action: 'delete' });
      } else if (decision.applyMetadata) {
        tasks.push({ ...base, entry: decision.entry, action: 'metadata' });
      } else {
        joinRow(context, item, row, decision.entry);
      }
    }
  });
  return brake(context, tasks);
}

function joinRow(
  context: FilesContext,
  item: NeedItem,
  row: IndexRow | null,
  entry: Task['entry'],
): void {
  const { index } = context;
  index.need.remove(entry.path);
  index.put(
    {
      entry,
      seq: seqAfter({ item, entry, row }),
      seen: entry.deleted ? null : (row?.seen ?? null),
      ino: entry.deleted ? null : (row?.ino ?? null),
      missing: !entry.deleted && (row?.missing ?? false),
    },
    row,
  );
}

/** Deletions and overwrites of old files, as far as the brake lets them pass; the rest is held. */
function brake(context: FilesContext, tasks: readonly Task[]): readonly Task[] {
  const { index } = context;
  const counted = tasks.filter((task) => isCounted(context, task));
  if (counted.length === 0) return tasks;
  // What waits for something else was let pass before.
  const fresh = counted.filter((task) => task.tries === 0);
  const admitted = admit(context, fresh.length);
  const held = new Set(fresh.slice(admitted));
  if (held.size === 0) return tasks;
  index.write(() => {
    for (const task of held) {
      const { path } = task.entry;
      index.need.hold(path);
      index.held.add(path, 'in', task.action === 'delete' ? 'delete' : 'overwrite');
    }
  });
  tellHeld(context);
  return tasks.filter((task) => !held.has(task));
}

function isCounted(context: FilesContext, { action, row, entry }: Task): boolean {
  if (!row || row.entry.deleted || row.missing) return false;
  // The peer saw the same file under another name: nothing is lost by this deletion.
  if (action === 'delete') return entry.evidence !== 'renamed';
  if (action !== 'place' || row.entry.type !== 'file') return false;
  return isOldFile(context, row.entry.mtimeNs);
}
