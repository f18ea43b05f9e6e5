/**
 * Puts finished temps in place: NOREPLACE where nothing is, EXCHANGE where something is, and then a
 * look at what came out. Content that this site had not seen is never lost: it is first taken for a
 * local edit, and if it never settles, kept as a conflict copy.
 */
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import { type Observed, observedToken, sameFile } from '../../../core/scan-judgement.ts';
import { nameOf, parentOf, ROOT } from '../../../core/tree-path.ts';
import { renameExchange, renameNoReplace } from '../../../platform/libc.ts';
import type { KeptFile } from '../index/kept-list.ts';
import { readFileContent, readLinkContent } from '../scan/content.ts';
import { isCacheLost } from '../scan/context.ts';
import { type Look, lookNow } from '../scan/look.ts';
import type { HeldDirectory } from '../scan/open-directories.ts';
import { setMetadata } from './metadata.ts';
import { setAside } from './set-aside.ts';
import {
  type ApplyBatch,
  later,
  MAX_PATIENT_TRIES,
  mustLive,
  type Outcome,
  type Task,
} from './task.ts';
import { outName, TEMP_DIRECTORY, type Temp, tempName } from './temps.ts';

const SOON_MS = 100;
const REVIVE: Outcome = { kind: 'revive' };

/** True when what stands there is what the index last saw. */
export function isAsSeen(task: Task, found: Observed): boolean {
  const { row } = task;
  if (!row || row.entry.deleted || row.missing || row.seen === null) return false;
  return row.seen.replace(/^~/, '') === observedToken(found);
}

/** Makes missing parents; null when the task has to wait. */
async function parentOutcome(batch: ApplyBatch, task: Task): Promise<Outcome | null> {
  const parent = parentOf(task.entry.path);
  if (parent === ROOT) return null;
  const { need } = batch.context.index;
  try {
    await batch.directories.use(parent, () => undefined);
    return null;
  } catch (error) {
    const code = systemCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
    // Told already and not made yet, or something else stands there that will be replaced.
    for (let above = parent; above !== ROOT; above = parentOf(above)) {
      if (need.get(above)?.entry.deleted === false) return later('its directory is on its way', 20);
    }
    if (code === 'ENOTDIR') return later('its parent is no directory', 1_000, 'item');
  }
  await batch.directories.ensure(parent, (made) => {
    batch.touched.add(parentOf(made));
    batch.madeParents.add(made);
  });
  return null;
}

/** Publishes a temp at the task's path. The temp is gone afterwards, whatever the outcome. */
export async function placeTemp(batch: ApplyBatch, task: Task, temp: Temp): Promise<Outcome> {
  const { path } = task.entry;
  let outcome: Outcome | null = null;
  try {
    outcome = await parentOutcome(batch, task);
    outcome ??= await batch.directories.use(parentOf(path), (parent) =>
      batch.directories.use(TEMP_DIRECTORY, (temps) => place(batch, task, temp, parent, temps)),
    );
    return outcome;
  } finally {
    if (outcome?.kind !== 'done') {
      await batch.directories.use(TEMP_DIRECTORY, (temps) =>
        rm(temps.at(temp.name), { recursive: true, force: true }),
      );
    }
  }
}

async function place(
  batch: ApplyBatch,
  task: Task,
  temp: Temp,
  parent: HeldDirectory,
  temps: HeldDirectory,
): Promise<Outcome> {
  const name = nameOf(task.entry.path);
  const before = lookNow(parent, name);
  if (before.kind === 'special')
    return later('a socket, pipe or device has its name', 10_000, 'item');
  if (before.kind === 'absent') {
    try {
      renameNoReplace(temps.at(temp.name), parent.at(name));
    } catch (error) {
      if (systemCode(error) === 'EEXIST') return later('something appeared there', SOON_MS);
      throw error;
    }
    batch.touched.add(parentOf(task.entry.path));
    return { kind: 'done', seen: seenAfter(lookNow(parent, name), temp.seen), kept: null };
  }
  if (before.seen.type === 'dir') return overDirectory(batch, task, temp, parent, temps);
  const damaged = task.row?.missing === true && isCacheLost(batch.context);
  if (!isAsSeen(task, before.seen) && task.tries < MAX_PATIENT_TRIES && !damaged) {
    // An edit that the index does not know yet is judged as an edit first.
    batch.context.candidates.add(task.entry.path, 'hint');
    return later('what stands there was not seen before', SOON_MS);
  }
  return overFile(batch, task, temp, before.seen, parent, temps);
}

/** What stands at the name now, if it is what was put there. */
function seenAfter(after: Look, placed: Observed): Observed | null {
  return after.kind === 'here' && sameFile(after.seen, placed) ? after.seen : null;
}

async function overFile(
  batch: ApplyBatch,
  task: Task,
  temp: Temp,
  before: Observed,
  parent: HeldDirectory,
  temps: HeldDirectory,
): Promise<Outcome> {
  const { path } = task.entry;
  const name = nameOf(path);
  const out = outName(task.entry.hash);
  renameNoReplace(temps.at(temp.name), temps.at(out));
  // Crash here: the temp's hash is in its name, so it is known as not exchanged and removed.
  renameExchange(temps.at(out), parent.at(name));
  // Crash from here on: the temp's hash is another one, so it is known as displaced and kept.
  batch.touched.add(parentOf(path));
  const seen = seenAfter(lookNow(parent, name), temp.seen);
  const cameOut = lookNow(temps, out);
  const unseen =
    cameOut.kind !== 'here' || !sameFile(cameOut.seen, before) || !isAsSeen(task, before);
  const kept = await keepDisplaced(batch, task, out, unseen, temps);
  return { kind: 'done', seen, kept };
}

async function keepDisplaced(
  batch: ApplyBatch,
  task: Task,
  out: string,
  unseen: boolean,
  temps: HeldDirectory,
): Promise<KeptFile | null> {
  const { context } = batch;
  const { row, entry } = task;
  const cameOut = lookNow(temps, out);
  if (cameOut.kind !== 'here') return null;
  let { hash, size } = row?.entry ?? { hash: '', size: 0 };
  let kind = task.displaced;
  if (unseen || !row) {
    // A writer may still hold it open; what it holds now is what is kept.
    const read =
      cameOut.seen.type === 'file'
        ? await readFileContent(temps, out, cameOut.seen, false)
        : await readLinkContent(temps, out, cameOut.seen);
    hash = read?.content.hash ?? '';
    size = cameOut.seen.size;
    const known = hash !== '' && (hash === entry.hash || context.index.isKnown(hash, ROOT));
    kind = known ? 'trash' : 'conflict';
  }
  return setAside(
    context,
    batch.directories,
    { kind, name: out, path: entry.path, hash, size, site: row?.entry.stamp.site ?? context.site },
    batch.touched,
  );
}

/** A file or symlink in place of a directory: only an empty one gives way. */
async function overDirectory(
  batch: ApplyBatch,
  task: Task,
  temp: Temp,
  parent: HeldDirectory,
  temps: HeldDirectory,
): Promise<Outcome> {
  const { path } = task.entry;
  const { index, candidates } = batch.context;
  if (index.need.hasBelow(path)) return later('what was in the directory leaves first', 20);
  if (index.hasLiveBelow(path)) {
    return mustLive(batch, task) ? REVIVE : later('something lives in the directory', SOON_MS);
  }
  const out = outName(task.entry.hash);
  renameNoReplace(temps.at(temp.name), temps.at(out));
  renameExchange(temps.at(out), parent.at(nameOf(path)));
  try {
    await rmdir(temps.at(out));
  } catch (error) {
    // Something unseen lives in it: back it goes, and what is in it is looked at.
    renameExchange(temps.at(out), parent.at(nameOf(path)));
    await rm(temps.at(out), { force: true });
    if (!['ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) throw error;
    candidates.add(path, 'hint');
    return mustLive(batch, task) ? REVIVE : later('something unseen is in it', SOON_MS);
  }
  batch.touched.add(parentOf(path));
  return { kind: 'done', seen: seenAfter(lookNow(parent, nameOf(path)), temp.seen), kept: null };
}

/** Makes a directory, or gives one that stands there the entry's metadata. */
export async function placeDirectory(batch: ApplyBatch, task: Task): Promise<Outcome> {
  const { path } = task.entry;
  const waiting = await parentOutcome(batch, task);
  if (waiting) return waiting;
  return batch.directories.use(parentOf(path), async (parent) => {
    const before = lookNow(parent, nameOf(path));
    if (before.kind === 'special')
      return later('a socket, pipe or device has its name', 10_000, 'item');
    if (before.kind === 'here' && before.seen.type !== 'dir') {
      return directoryOverFile(batch, task, parent, before.seen);
    }
    if (before.kind === 'absent') {
      await mkdir(parent.at(nameOf(path)), { mode: task.entry.mode & 0o777 });
      batch.touched.add(parentOf(path));
    }
    const seen = await setMetadata(batch.context, parent, task.entry);
    return { kind: 'done', seen, kept: null };
  });
}

async function directoryOverFile(
  batch: ApplyBatch,
  task: Task,
  parent: HeldDirectory,
  before: Observed,
): Promise<Outcome> {
  const { path } = task.entry;
  if (!isAsSeen(task, before) && task.tries < MAX_PATIENT_TRIES) {
    batch.context.candidates.add(path, 'hint');
    return later('what stands there was not seen before', SOON_MS);
  }
  return batch.directories.use(TEMP_DIRECTORY, async (temps) => {
    const name = tempName();
    await mkdir(temps.at(name), { mode: task.entry.mode & 0o777 });
    const made = lookNow(temps, name);
    if (made.kind !== 'here') return later('a temp directory went away', SOON_MS);
    const outcome = await overFile(batch, task, { name, seen: made.seen }, before, parent, temps);
    if (outcome.kind !== 'done') return outcome;
    const seen = await setMetadata(batch.context, parent, task.entry);
    return { ...outcome, seen };
  });
}
