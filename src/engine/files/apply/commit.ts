/** Writes what a batch did into the index, in one transaction, after its directories were fsynced. */
import { isZero } from '../../../core/version-vector.ts';
import { isCacheLost } from '../scan/context.ts';
import { recordAgain, recordDeletion, seenToken } from '../scan/record.ts';
import type { Outcomes } from './apply-batch.ts';
import { seqAfter } from './decide.ts';
import type { ApplyBatch, Outcome, Task } from './task.ts';

const ERROR_CHARS = 300;

export function commitOutcomes(batch: ApplyBatch, outcomes: Outcomes): void {
  const { context } = batch;
  const { index, candidates } = context;
  index.write(() => {
    for (const [task, outcome] of outcomes) commitOne(batch, task, outcome);
  });
  for (const [task, outcome] of outcomes) {
    // Someone wrote to it in the same moment: what stands there now is looked at.
    if (outcome.kind === 'done' && outcome.seen === null && !task.entry.deleted) {
      candidates.add(task.entry.path, 'hint');
    }
  }
  // Made for a child's sake: they are told as found here, unless the peer told of them meanwhile.
  for (const path of batch.madeParents) candidates.add(path, 'hint');
  context.journalGrew.wake();
}

function commitOne(batch: ApplyBatch, task: Task, outcome: Outcome): void {
  const { context } = batch;
  const { index } = context;
  const { path } = task.entry;
  if (outcome.kind === 'later') {
    if (task.tries > 0) index.need.fail(path, outcome.reason.slice(0, ERROR_CHARS));
    return;
  }
  const row = index.get(path);
  if (outcome.kind === 'revive' && (!row || row.entry.deleted)) return;
  // Something newer was told meanwhile: it stays on the list.
  if (index.need.get(path)?.id === task.item.id) index.need.remove(path);
  if (outcome.kind === 'nowhere') {
    commitNowhere(batch, task);
    return;
  }
  if (outcome.kind === 'revive') {
    if (row) recordAgain(context, row, task.entry);
    const { entry } = task;
    // A file that would have replaced the directory: its content is kept beside it.
    if (!entry.deleted && entry.type === 'file') {
      index.need.addCopy({ path, hash: entry.hash, size: entry.size, site: entry.stamp.site });
    }
    return;
  }
  if (outcome.kept) {
    const seq = outcome.kept.kind === 'conflict' ? index.nextSeq() : 0;
    index.kept.add({ ...outcome.kept, seq });
  }
  if (task.row?.missing && !task.entry.deleted) context.figures.healedMissing += 1;
  context.figures.sync.filesDone += 1;
  context.figures.sync.bytesDone += task.entry.deleted ? 0 : task.entry.size;
  index.held.remove(path, 'out');
  index.held.remove(path, 'in');
  const { seen } = outcome;
  index.put(
    {
      entry: task.entry,
      seq: seqAfter(task),
      seen: seen === null ? null : seenToken(context, seen),
      ino: seen?.ino ?? null,
      missing: false,
    },
    row,
  );
}

/** A lost file that no site holds was never more than here: its absence is a fact now. */
function commitNowhere(batch: ApplyBatch, task: Task): void {
  const { context } = batch;
  const row = context.index.get(task.entry.path);
  if (!row || row.entry.deleted) return;
  if (row.missing && isCacheLost(context)) {
    // What stands there, if anything, is all there is: it counts as written.
    context.index.setMissing(row.entry.path, false);
    context.index.setSeen(row.entry.path, null, null);
    context.candidates.add(row.entry.path, 'hint');
  } else if (row.missing) recordDeletion(context, task.entry.path, 'nowhere');
  else if (isZero(row.entry.version)) {
    recordAgain(context, row, task.entry);
  }
}
