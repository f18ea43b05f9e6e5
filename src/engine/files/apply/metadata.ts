/** Gives what stands at a path the entry's owner, mode and time, as far as this process may. */
import { chmod, chown, lchown, open } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { Observed } from '../../../core/scan-judgement.ts';
import { nameOf } from '../../../core/tree-path.ts';
import type { FilesContext } from '../scan/context.ts';
import { look } from '../scan/look.ts';
import type { HeldDirectory } from '../scan/open-directories.ts';
import { setModified } from './times.ts';

const O_PATH = 0o10000000;
const O_NOFOLLOW = 0o400000;

/**
 * Works on the very inode that is opened, so that a name swapped meanwhile is not followed. What this
 * process has no right to set stays as it is. Null when nothing stands there any more.
 */
export async function setMetadata(
  context: FilesContext,
  parent: HeldDirectory,
  entry: ManifestEntry,
): Promise<Observed | null> {
  const name = nameOf(entry.path);
  if (entry.type === 'symlink') {
    if (context.owners) await lchown(parent.at(name), entry.uid, entry.gid);
  } else {
    const handle = await open(parent.at(name), O_PATH | O_NOFOLLOW);
    try {
      const self = `/proc/self/fd/${handle.fd}`;
      if (context.owners) await chown(self, entry.uid, entry.gid);
      await chmod(self, entry.mode).catch((error: unknown) => {
        if (systemCode(error) !== 'EPERM') throw error;
      });
      if (entry.type === 'file') setModified(self, entry.mtimeNs);
    } finally {
      await handle.close();
    }
  }
  const after = await look(parent, name);
  return after.kind === 'here' && after.seen.type === entry.type ? after.seen : null;
}
