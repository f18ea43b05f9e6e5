/** Puts displaced content where it is kept: the trash, or beside its path as a conflict copy. */

import { conflictCopyPath, MAX_COPIES_PER_PATH, trashPath } from '../../../core/copy-name.ts';
import { systemCode } from '../../../core/errors.ts';
import { nameOf, parentOf, type TreePath } from '../../../core/tree-path.ts';
import { rfc3339 } from '../../../platform/clock.ts';
import { renameNoReplace } from '../../../platform/libc.ts';
import type { KeptFile, KeptKind } from '../index/kept-list.ts';
import type { FilesContext } from '../scan/context.ts';
import { type OpenDirectories, privatePath } from '../scan/open-directories.ts';

export interface Displaced {
  readonly kind: KeptKind;
  /** Its name in `.twinsite/tmp`. */
  readonly name: string;
  /** Where it was. */
  readonly path: TreePath;
  readonly hash: string;
  readonly size: number;
  readonly site: string;
}

let counter = 0;

/** A name in the trash that no other file has. */
export function newTrashPath(context: FilesContext, path: TreePath, hash: string): TreePath {
  counter += 1;
  const now = context.clock.wallMs();
  const unique = `${Math.floor(now).toString(36)}-${process.pid.toString(36)}-${counter.toString(36)}`;
  return trashPath(path, rfc3339(now).slice(0, 10), unique, hash);
}

/**
 * Moves a temp to where it is kept; the directories to fsync are added to `touched`. The row for the
 * kept list is returned, not written. Crash before the move: prepareTemps finds the temp; after it: the file lies there untold.
 */
export async function setAside(
  context: FilesContext,
  directories: OpenDirectories,
  displaced: Displaced,
  touched: Set<TreePath>,
): Promise<KeptFile> {
  const { index } = context;
  const kind =
    displaced.kind === 'conflict' &&
    index.kept.conflictsOf(displaced.path).length < MAX_COPIES_PER_PATH
      ? 'conflict'
      : 'trash';
  const move = async (place: TreePath) => {
    await directories.ensure(parentOf(place), (made) => touched.add(parentOf(made)), 0o700);
    await directories.use(parentOf(place), (target) =>
      directories.use(privatePath('tmp'), (temps) => {
        renameNoReplace(temps.at(displaced.name), target.at(nameOf(place)));
      }),
    );
    touched.add(parentOf(place));
    return place;
  };
  const { path, hash, size, site } = displaced;
  const row = { path, hash, size, site, seq: 0, keptAt: rfc3339(context.clock.wallMs()) };
  if (kind === 'conflict') {
    try {
      const place = await move(conflictCopyPath(path, site, hash));
      return { ...row, kind, place };
    } catch (error) {
      // A copy with this hash is kept already.
      if (systemCode(error) !== 'EEXIST') throw error;
    }
  }
  return { ...row, kind: 'trash', place: await move(newTrashPath(context, path, hash)) };
}
