/** Names for what is kept aside: conflict copies and trash. Bounded, and made of the content's hash. */
import { joinPath, nameOf, parentOf, type TreePath } from './tree-path.ts';

export const CONFLICTS_DIRECTORY = '.twinsite/conflicts' as TreePath;
export const TRASH_DIRECTORY = '.twinsite/trash' as TreePath;
/** Copies kept for one path; older ones go to the trash. */
export const MAX_COPIES_PER_PATH = 10;

const MAX_NAME_BYTES = 255;
const HASH_PREFIX = 12;

/** `.twinsite/conflicts/<path>.<site>-<hash prefix>`; the name is cut so that it fits in 255 bytes. */
export function conflictCopyPath(path: TreePath, site: string, hash: string): TreePath {
  const suffix = `.${site}-${hash.slice(0, HASH_PREFIX)}`;
  const name = nameOf(path).slice(0, MAX_NAME_BYTES - suffix.length);
  const directory = parentOf(path);
  const parent = directory === '' ? CONFLICTS_DIRECTORY : joinPath(CONFLICTS_DIRECTORY, directory);
  return joinPath(parent, `${name}${suffix}`);
}

/** `.twinsite/trash/<date>/<unique>-<hash prefix>-<name>`. */
export function trashPath(path: TreePath, date: string, unique: string, hash: string): TreePath {
  const prefix = `${unique}-${hash.slice(0, HASH_PREFIX)}-`;
  const name = nameOf(path).slice(0, MAX_NAME_BYTES - prefix.length);
  return joinPath(joinPath(TRASH_DIRECTORY, date), `${prefix}${name}`);
}
