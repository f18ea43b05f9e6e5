/** Makes renames durable: each touched directory once, or the whole file system when there are many. */
import { describeError, systemCode } from '../../../core/errors.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import type { FilesContext } from '../scan/context.ts';
import type { OpenDirectories } from '../scan/open-directories.ts';
import { inParallel } from '../scan/parallel.ts';

const FLUSH_TOGETHER = 48;
const PARALLEL = 16;

/** A directory that went away meanwhile needs no flush. Any other failure puts the store in doubt. */
export async function flushDirectories(
  context: FilesContext,
  directories: OpenDirectories,
  touched: ReadonlySet<TreePath>,
): Promise<void> {
  if (touched.size >= FLUSH_TOGETHER && (await context.flusher.wholeStore())) return;
  await inParallel([...touched], PARALLEL, async (directory) => {
    try {
      await directories.use(directory, (held) => held.handle.sync());
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') return;
      context.store.doubt(`a directory could not be flushed: ${describeError(error)}`);
      throw error;
    }
  });
}
