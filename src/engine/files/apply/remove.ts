/** Applies tombstones: a file goes to the trash, a directory goes when nothing lives in it. */
import { rmdir } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import { sameFile } from '../../../core/scan-judgement.ts';
import { nameOf, parentOf } from '../../../core/tree-path.ts';
import { rfc3339 } from '../../../platform/clock.ts';
import { renameNoReplace } from '../../../platform/libc.ts';
import { look, lookNow } from '../scan/look.ts';
import type { HeldDirectory } from '../scan/open-directories.ts';
import { isAsSeen } from './place.ts';
import { newTrashPath } from './set-aside.ts';
import { type ApplyBatch, later, mustLive, type Outcome, type Task } from './task.ts';

const SOON_MS = 100;
const REVIVE: Outcome = { kind: 'revive' };
const GONE: Outcome = { kind: 'done', seen: null, kept: null };

/** Removes what stands at the task's path, if it is what the index knows. */
export async function removePath(batch: ApplyBatch, task: Task): Promise<Outcome> {
  const { path } = task.entry;
  try {
    return await batch.directories.use(parentOf(path), (parent) =>
      task.row?.entry.type === 'dir'
        ? removeDirectory(batch, task, parent)
        : removeFile(batch, task, parent),
    );
  } catch (error) {
    const code = systemCode(error);
    // Its directory is gone, and so is it.
    if (code === 'ENOENT' || code === 'ENOTDIR') return GONE;
    throw error;
  }
}

async function removeFile(batch: ApplyBatch, task: Task, parent: HeldDirectory): Promise<Outcome> {
  const { context } = batch;
  const { path } = task.entry;
  const { row } = task;
  const before = await look(parent, nameOf(path));
  if (before.kind === 'absent') return GONE;
  if (before.kind !== 'here' || !row || !isAsSeen(task, before.seen)) {
    // Something newer than what the tombstone knows, perhaps: it is judged as an edit first.
    context.candidates.add(path, 'hint');
    return later('what stands there was not seen before', SOON_MS);
  }
  const place = newTrashPath(context, path, row.entry.hash);
  await batch.directories.ensure(
    parentOf(place),
    (made) => batch.touched.add(parentOf(made)),
    0o700,
  );
  const kept = await batch.directories.use(parentOf(place), (trash) => {
    // Crash after this rename: the file is in the trash, and the tombstone still on the need list.
    renameNoReplace(parent.at(nameOf(path)), trash.at(nameOf(place)));
    const cameOut = lookNow(trash, nameOf(place));
    if (cameOut.kind === 'here' && sameFile(cameOut.seen, before.seen)) return true;
    putBack(parent, trash, nameOf(path), nameOf(place));
    return false;
  });
  if (!kept) return later('it changed at the last moment', SOON_MS);
  batch.touched.add(parentOf(path));
  batch.touched.add(parentOf(place));
  const { hash, size, stamp } = row.entry;
  return {
    kind: 'done',
    seen: null,
    kept: {
      kind: 'trash',
      place,
      path,
      hash,
      size,
      site: stamp.site,
      seq: 0,
      keptAt: rfc3339(context.clock.wallMs()),
    },
  };
}

/** An edit came between the look and the rename. If its name is taken again, it stays in the trash. */
function putBack(parent: HeldDirectory, trash: HeldDirectory, name: string, place: string): void {
  try {
    renameNoReplace(trash.at(place), parent.at(name));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

async function removeDirectory(
  batch: ApplyBatch,
  task: Task,
  parent: HeldDirectory,
): Promise<Outcome> {
  const { index, candidates } = batch.context;
  const { path } = task.entry;
  if (index.need.hasBelow(path)) return later('what is in the directory leaves first', 20);
  if (index.hasLiveBelow(path)) {
    return mustLive(batch, task) ? REVIVE : later('something lives in the directory', SOON_MS);
  }
  try {
    await rmdir(parent.at(nameOf(path)));
    batch.touched.add(parentOf(path));
    return GONE;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return GONE;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOTDIR') throw error;
    candidates.add(path, 'hint');
    return mustLive(batch, task) ? REVIVE : later('something unseen is in it', SOON_MS);
  }
}
