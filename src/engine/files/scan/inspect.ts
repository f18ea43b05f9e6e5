/**
 * Looks at candidates and records what changed. A file counts when it was quiet for the settle time
 * and stood still while its bytes were flushed and hashed.
 */
import { systemCode } from '../../../core/errors.ts';
import { isQuiet, type Observed, observedToken, quietInMs } from '../../../core/scan-judgement.ts';
import { nameOf, parentOf } from '../../../core/tree-path.ts';
import { ABSENT, type Candidate } from './candidates.ts';
import { type Content, type ContentResult, readFileContent, readLinkContent } from './content.ts';
import type { FilesContext } from './context.ts';
import { look } from './look.ts';
import { OpenDirectories } from './open-directories.ts';
import { inParallel } from './parallel.ts';
import { recordPresence } from './record.ts';

/** What a batch leaves to others. */
export interface InspectResult {
  /** Live in the index and not there: the caller judges, then finishes each. */
  readonly absent: readonly Candidate[];
  /** Directories whose content the caller is to look at. */
  readonly newDirectories: readonly Candidate[];
  readonly changed: number;
  /** Codes of errors other than a file that went away. */
  readonly errors: readonly string[];
}

interface Standing {
  readonly item: Candidate;
  readonly seen: Observed;
}

const PARALLEL = 8;
const LOOKS_PARALLEL = 64;
/** From here one flush of the file system is cheaper than an fsync of each file. */
const FLUSH_TOGETHER = 24;
const LARGE_BYTES = 64 * 1024 * 1024;
const BUSY_MS = 20;
const ERROR_MS = 2_000;
const ABSENCE_MS = 100;
const NO_CONTENT: Content = { hash: '', target: null, size: 0 };

interface Batch {
  readonly context: FilesContext;
  readonly directories: OpenDirectories;
  readonly absent: Candidate[];
  readonly newDirectories: Candidate[];
  readonly errors: string[];
  readonly ready: { item: Candidate; seen: Observed; content: Content }[];
}

/** Inspects taken candidates; each is finished or put back when it resolves. */
export async function inspectBatch(
  context: FilesContext,
  items: readonly Candidate[],
): Promise<InspectResult> {
  const locked: Candidate[] = [];
  for (const item of items) {
    if (context.locks.tryHold(item.path)) locked.push(item);
    else context.candidates.putBack(item, BUSY_MS);
  }
  await using directories = new OpenDirectories(context.store);
  const batch: Batch = {
    context,
    directories,
    absent: [],
    newDirectories: [],
    errors: [],
    ready: [],
  };
  try {
    const standing: Standing[] = [];
    await inParallel(locked, LOOKS_PARALLEL, async (item) => {
      const seen = await lookAt(batch, item);
      if (seen) standing.push({ item, seen });
    });
    await readContents(batch, standing);
    const changed = commit(batch);
    if (changed > 0) context.journalGrew.wake();
    return {
      absent: batch.absent,
      newDirectories: batch.newDirectories,
      changed,
      errors: batch.errors,
    };
  } finally {
    for (const item of locked) context.locks.release(item.path);
  }
}

/** The stat of what is to be read; null when the candidate is dealt with otherwise. */
async function lookAt(batch: Batch, item: Candidate): Promise<Observed | null> {
  const { context } = batch;
  try {
    const found = await batch.directories.use(parentOf(item.path), (directory) =>
      look(directory, nameOf(item.path)),
    );
    if (found.kind === 'absent') return isAbsent(batch, item);
    if (found.kind === 'special') {
      context.candidates.finish(item);
      return null;
    }
    return judgePresent(batch, item, found.seen);
  } catch (error) {
    const code = systemCode(error);
    // The directory is gone, or is none any more: so is what was in it.
    if (code === 'ENOENT' || code === 'ENOTDIR') return isAbsent(batch, item);
    if (code === 'EXDEV') {
      context.candidates.finish(item);
      return null;
    }
    return failed(batch, item, error);
  }
}

/** An absence is looked at twice: a renamed file is found under its new name first. */
function isAbsent(batch: Batch, item: Candidate): null {
  const { candidates, index } = batch.context;
  const row = index.get(item.path);
  if (!row || row.entry.deleted) candidates.finish(item);
  else if (item.token === ABSENT) batch.absent.push(item);
  else candidates.putBack(item, ABSENCE_MS, { token: ABSENT });
  return null;
}

function failed(batch: Batch, item: Candidate, error: unknown): null {
  const code = systemCode(error) ?? 'EIO';
  batch.errors.push(code);
  batch.context.log.debug('files.unreadable', { path: item.path, code });
  batch.context.candidates.putBack(item, ERROR_MS);
  return null;
}

function judgePresent(batch: Batch, item: Candidate, seen: Observed): Observed | null {
  const { context } = batch;
  const row = context.index.get(item.path);
  const token = observedToken(seen);
  if (row && !row.entry.deleted && !row.missing && row.seen === token) {
    if (seen.type === 'dir' && item.walk) batch.newDirectories.push(item);
    context.candidates.finish(item);
    return null;
  }
  if (seen.type === 'dir') {
    if (item.walk) batch.newDirectories.push(item);
    batch.ready.push({ item, seen, content: NO_CONTENT });
    return null;
  }
  if (seen.type === 'file' && seen.size > LARGE_BYTES && item.lane === 'small') {
    context.candidates.putBack(item, 0, { lane: 'large' });
    return null;
  }
  if (seen.type === 'file' && !hasSettled(context, item, seen, token)) return null;
  return seen;
}

/**
 * Quiet by its own time stamp (also when it was renamed into place), or unchanged between two looks a
 * settle time apart where the stamp tells nothing (a clock that differs, a time in the future).
 */
function hasSettled(
  context: FilesContext,
  item: Candidate,
  seen: Observed,
  token: string,
): boolean {
  const nowMs = context.clock.monotonicMs();
  if (isQuiet(seen, context.clock.wallMs(), context.settleMs)) return true;
  if (item.token === token && nowMs - item.tokenSinceMs >= context.settleMs) return true;
  const waitMs = quietInMs(seen, context.clock.wallMs(), context.settleMs);
  context.candidates.putBack(item, waitMs, {
    token,
    tokenSinceMs: item.token === token ? item.tokenSinceMs : nowMs,
  });
  return false;
}

async function readContents(batch: Batch, standing: readonly Standing[]): Promise<void> {
  const { context } = batch;
  const files = standing.filter(({ seen }) => seen.type === 'file').length;
  const flushed = files >= FLUSH_TOGETHER && (await context.flusher.wholeStore());
  await inParallel(standing, PARALLEL, async ({ item, seen }) => {
    try {
      const result = await batch.directories.use(
        parentOf(item.path),
        (directory): Promise<ContentResult> =>
          seen.type === 'symlink'
            ? readLinkContent(directory, nameOf(item.path), seen)
            : readFileContent(directory, nameOf(item.path), seen, !flushed),
      );
      if (result) batch.ready.push({ item, seen: result.seen, content: result.content });
      else context.candidates.putBack(item, context.settleMs / 2);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') context.candidates.putBack(item, 0);
      else failed(batch, item, error);
    }
  });
}

function commit(batch: Batch): number {
  const { context } = batch;
  if (batch.ready.length === 0) return 0;
  let changed = 0;
  context.index.write(() => {
    for (const { item, seen, content } of batch.ready) {
      if (recordPresence(context, item.path, seen, content) === 'changed') changed += 1;
    }
  });
  for (const { item } of batch.ready) context.candidates.finish(item);
  return changed;
}
