/** Walks the tree with our own eyes and compares it with the index. What differs becomes a candidate. */
import { systemCode } from '../../../core/errors.ts';
import { observedToken } from '../../../core/scan-judgement.ts';
import { joinPath, nameOf, ROOT, type TreePath } from '../../../core/tree-path.ts';
import type { RowSketch } from '../index/rows.ts';
import type { FilesContext } from './context.ts';
import { look, namesIn } from './look.ts';
import { type HeldDirectory, OpenDirectories } from './open-directories.ts';
import { inParallel } from './parallel.ts';

export interface WalkResult {
  /** Live in the index, not on the disk; what lies below a directory is not listed again. */
  readonly absent: readonly TreePath[];
  readonly special: number;
  /** With any of these no absence of this walk counts. */
  readonly errors: readonly string[];
  readonly looked: number;
}

interface Walk {
  readonly context: FilesContext;
  readonly directories: OpenDirectories;
  readonly signal: AbortSignal;
  readonly open: TreePath[];
  readonly absent: TreePath[];
  readonly errors: string[];
  special: number;
  looked: number;
}

const LOOKS_PARALLEL = 128;
const DIRECTORIES_PARALLEL = 4;

/** Resolves early when the signal aborts; the result is then worth nothing. */
export async function walk(
  context: FilesContext,
  start: TreePath,
  signal: AbortSignal,
): Promise<WalkResult> {
  await using directories = new OpenDirectories(context.store);
  const state: Walk = {
    context,
    directories,
    signal,
    open: [start],
    absent: [],
    errors: [],
    special: 0,
    looked: 0,
  };
  while (state.open.length > 0 && !signal.aborted) {
    const batch = state.open.splice(-DIRECTORIES_PARALLEL);
    await inParallel(batch, DIRECTORIES_PARALLEL, (directory) => walkDirectory(state, directory));
  }
  return state;
}

async function walkDirectory(state: Walk, directory: TreePath): Promise<void> {
  const { context } = state;
  await context.candidates.hasRoom(state.signal);
  try {
    // Rows first: one that is made after the names were read must not look absent.
    const rows = new Map(context.index.children(directory).map((row) => [row.path, row]));
    await state.directories.use(directory, async (held) => {
      const names = await namesIn(held);
      await inParallel(names, LOOKS_PARALLEL, (name) =>
        lookAtChild(state, held, rows, directory, name),
      );
    });
    for (const row of rows.values()) {
      if (!row.missing && !context.ignore.matches(row.path)) state.absent.push(row.path);
    }
  } catch (error) {
    const code = systemCode(error) ?? 'EIO';
    if ((code === 'ENOENT' || code === 'ENOTDIR') && directory !== ROOT) {
      context.candidates.add(directory, 'hint');
    } else if (code !== 'EXDEV') {
      state.errors.push(code);
      context.log.debug('files.scan-error', { path: directory, code });
    }
  }
}

async function lookAtChild(
  state: Walk,
  held: HeldDirectory,
  rows: Map<TreePath, RowSketch>,
  directory: TreePath,
  name: string,
): Promise<void> {
  const { context } = state;
  const path = joinPath(directory, name);
  if (context.ignore.matches(path)) return;
  const found = await look(held, nameOf(path));
  state.looked += 1;
  if (found.kind === 'absent') return;
  const row = rows.get(path);
  rows.delete(path);
  if (found.kind === 'special') {
    state.special += 1;
    // The name is taken by something else: the entry that was there is gone.
    if (row && !row.missing) state.absent.push(path);
    return;
  }
  if (found.seen.type === 'dir') state.open.push(path);
  if (row && !row.missing && row.seen === observedToken(found.seen)) return;
  if (row && context.index.held.kindOf(path, 'out') === 'overwrite') return;
  context.candidates.add(path, 'scan');
}
