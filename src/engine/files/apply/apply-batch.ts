/**
 * Brings a batch of the peer's changes into the store: contents as temps → flush → publish → fsync
 * directories → index commit. A crash between any two steps leaves the need list asking again, and
 * what was published already is recognised by its hash.
 */
import { constants, open } from 'node:fs/promises';
import { describeError } from '../../../core/errors.ts';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { PeerLink } from '../../../core/ports.ts';
import { depthOf, nameOf, parentOf } from '../../../core/tree-path.ts';
import { sha256Hex } from '../../../platform/hashing.ts';
import { type Fetched, fetchContents, writeTemp } from '../exchange/contents-client.ts';
import type { FilesContext } from '../scan/context.ts';
import { lookNow } from '../scan/look.ts';
import { OpenDirectories } from '../scan/open-directories.ts';
import { inParallel } from '../scan/parallel.ts';
import { commitOutcomes } from './commit.ts';
import { flushDirectories } from './flush-directories.ts';
import { copyLocally } from './local-copy.ts';
import { setMetadata } from './metadata.ts';
import { isAsSeen, placeDirectory, placeTemp } from './place.ts';
import { removePath } from './remove.ts';
import { type ApplyBatch, later, type Outcome, type Task } from './task.ts';
import { createLinkTemp, TEMP_DIRECTORY, type Temp } from './temps.ts';

const FLUSH_TOGETHER = 24;
const PARALLEL = 16;
const RETRY_MS = 1_000;
/** The newer version is on its way. */
const CHANGED_MS = 200;

export type Outcomes = Map<Task, Outcome>;

/** Never rejects because of one task; rejects when the store or the index is in doubt. */
export async function applyTasks(
  context: FilesContext,
  link: PeerLink | null,
  tasks: readonly Task[],
  signal: AbortSignal,
): Promise<Outcomes> {
  const outcomes: Outcomes = new Map();
  const locked = tasks.filter((task) => {
    if (context.locks.tryHold(task.entry.path)) return true;
    outcomes.set(task, later('it is being looked at', 20));
    return false;
  });
  await using directories = new OpenDirectories(context.store);
  const batch: ApplyBatch = { context, directories, touched: new Set(), madeParents: new Set() };
  try {
    await context.store.assertSame();
    const temps = await prepareContents(batch, link, locked, outcomes, signal);
    const wasUndecided = (task: Task) => !outcomes.has(task);
    await inOrder(batch, locked.filter(wasUndecided), temps, outcomes);
    await flushDirectories(context, directories, batch.touched);
    await context.store.assertSame();
    commitOutcomes(batch, outcomes);
    return outcomes;
  } finally {
    for (const task of locked) context.locks.release(task.entry.path);
  }
}

/** Directories first, parents before children; then contents; deletions last, children first. */
async function inOrder(
  batch: ApplyBatch,
  tasks: readonly Task[],
  temps: ReadonlyMap<Task, Temp>,
  outcomes: Outcomes,
): Promise<void> {
  const depth = (task: Task) => depthOf(task.entry.path);
  const isDirectory = (task: Task) => task.action === 'place' && task.entry.type === 'dir';
  const attempt = async (task: Task, work: () => Promise<Outcome>) => {
    try {
      outcomes.set(task, await work());
    } catch (error) {
      outcomes.set(task, later(describeError(error), RETRY_MS, 'item'));
    }
  };
  for (const task of tasks.filter(isDirectory).sort((a, b) => depth(a) - depth(b))) {
    await attempt(task, () => placeDirectory(batch, task));
  }
  await inParallel([...temps], PARALLEL, ([task, temp]) =>
    attempt(task, () => placeTemp(batch, task, temp)),
  );
  await inParallel(
    tasks.filter((task) => task.action === 'metadata'),
    PARALLEL,
    (task) => attempt(task, () => applyMetadata(batch, task)),
  );
  const removals = tasks.filter((task) => task.action === 'delete');
  for (const task of removals.sort((a, b) => depth(b) - depth(a))) {
    await attempt(task, () => removePath(batch, task));
  }
}

async function applyMetadata(batch: ApplyBatch, task: Task): Promise<Outcome> {
  const { path } = task.entry;
  return batch.directories.use(parentOf(path), async (parent) => {
    const before = lookNow(parent, nameOf(path));
    if (before.kind !== 'here' || !isAsSeen(task, before.seen)) {
      batch.context.candidates.add(path, 'hint');
      return later('what stands there was not seen before', 100);
    }
    const seen = await setMetadata(batch.context, parent, task.entry);
    batch.touched.add(parentOf(path));
    return { kind: 'done', seen, kept: null };
  });
}

/** A flushed temp for each file and symlink; tasks that get none have their outcome set. */
async function prepareContents(
  batch: ApplyBatch,
  link: PeerLink | null,
  tasks: readonly Task[],
  outcomes: Outcomes,
  signal: AbortSignal,
): Promise<ReadonlyMap<Task, Temp>> {
  const { context, directories } = batch;
  const temps = new Map<Task, Temp>();
  const wanted = tasks.filter((task) => task.action === 'place' && task.entry.type !== 'dir');
  const flushEach = wanted.length < FLUSH_TOGETHER;
  const remote: Task[] = [];
  await inParallel(wanted, PARALLEL, async (task) => {
    try {
      const temp = await makeHere(batch, task.entry, flushEach);
      if (temp) temps.set(task, temp);
      else remote.push(task);
    } catch (error) {
      outcomes.set(task, later(describeError(error), RETRY_MS, 'item'));
    }
  });
  await fetchRemote(batch, link, remote, flushEach, temps, outcomes, signal);
  if (!flushEach && temps.size > 0 && !(await context.flusher.wholeStore())) {
    await directories.use(TEMP_DIRECTORY, (held) =>
      inParallel([...temps.values()], PARALLEL, (temp) => flushTemp(held.at(temp.name), context)),
    );
  }
  return temps;
}

/** What needs no peer: symlinks, empty files, contents that are here under another name. */
async function makeHere(
  batch: ApplyBatch,
  entry: ManifestEntry,
  flush: boolean,
): Promise<Temp | null> {
  const { context, directories } = batch;
  if (entry.type === 'symlink') {
    return directories.use(TEMP_DIRECTORY, (temps) => createLinkTemp(context, temps, entry));
  }
  if (entry.size === 0 && entry.hash === sha256Hex('')) {
    return directories.use(TEMP_DIRECTORY, (temps) =>
      writeTemp(context, temps, entry, Buffer.alloc(0), flush),
    );
  }
  return copyLocally(context, directories, entry, flush);
}

async function fetchRemote(
  batch: ApplyBatch,
  link: PeerLink | null,
  tasks: readonly Task[],
  flush: boolean,
  temps: Map<Task, Temp>,
  outcomes: Outcomes,
  signal: AbortSignal,
): Promise<void> {
  if (tasks.length === 0) return;
  const results = new Map<ManifestEntry, Fetched>();
  let failure = 'there is no peer';
  if (link) {
    try {
      await fetchContents(
        batch.context,
        link,
        batch.directories,
        tasks.map((task) => task.entry),
        flush,
        results,
        signal,
      );
    } catch (error) {
      failure = describeError(error);
    }
  }
  for (const task of tasks) {
    const fetched = results.get(task.entry);
    if (fetched?.kind === 'temp') temps.set(task, fetched.temp);
    else if (fetched?.kind === 'failed')
      outcomes.set(task, later(fetched.reason, CHANGED_MS, 'item'));
    else if (fetched?.kind === 'gone') outcomes.set(task, whenGone(task, fetched.held));
    else outcomes.set(task, later(failure, 0, 'peer'));
  }
}

/** Without bytes at either site, this site's own knowledge of them is all there is. */
function whenGone(task: Task, heldByPeer: boolean): Outcome {
  return task.item.heal && !heldByPeer
    ? { kind: 'nowhere' }
    : later('the peer does not have these bytes now', CHANGED_MS, 'item');
}

async function flushTemp(path: Buffer, context: FilesContext): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => null);
  try {
    await handle?.sync();
  } catch (error) {
    context.store.doubt(`a file could not be flushed: ${describeError(error)}`);
    throw error;
  } finally {
    await handle?.close();
  }
}
