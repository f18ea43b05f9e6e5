/** Records what the peer told, durably: that is what the peer takes for its acknowledgement. */
import { mustTellAgain, reconcile } from '../../../core/reconcile.ts';
import { type FilesContext, wakeApply } from '../scan/context.ts';
import { tellAgain } from '../scan/record.ts';
import { type Batch, fromBatch } from './wire.ts';

const ROWS_PER_WRITE = 250;

/** Puts on the need list what is new; not durable before FileIndex.flushed. */
export async function recordRemote(
  context: FilesContext,
  batch: Batch,
  signal: AbortSignal,
): Promise<void> {
  const { index } = context;
  const { entries, copies, refused } = fromBatch(batch);
  if (refused > 0) context.log.warn('files.paths-refused', { refused });
  for (let at = 0; at < entries.length; at += ROWS_PER_WRITE) {
    index.write(() => {
      for (const entry of entries.slice(at, at + ROWS_PER_WRITE)) {
        if (context.ignore.covers(entry.path)) continue;
        const row = index.get(entry.path);
        const decision = reconcile(row, entry, (hash) => index.isKnown(hash, entry.path));
        if (decision.kind === 'none' || decision.kind === 'keep') {
          if (row && mustTellAgain(row.entry, entry)) tellAgain(context, row);
          // What it replaces on the list is older still.
          index.need.remove(entry.path);
          if (row?.missing) index.need.add(row.entry, true);
          continue;
        }
        index.held.remove(entry.path, 'in');
        index.need.add(entry);
      }
    });
    await context.clock.sleep(0, signal);
  }
  if (copies.length > 0) {
    index.write(() => {
      for (const copy of copies) index.need.addCopy(copy);
    });
  }
  if (entries.length + copies.length > 0) wakeApply(context);
}
