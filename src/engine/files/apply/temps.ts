/**
 * Temps of the file engine in `.twinsite/tmp`. `files-in-…` holds what is on its way in and may be
 * removed at any time. `files-out-<hash>-…` is about to change places with a file of the store: after a
 * crash it is either the new content (its hash says so) or what was displaced, which is never thrown away.
 */
import { randomBytes } from 'node:crypto';
import {
  constants,
  type FileHandle,
  lchown,
  mkdir,
  open,
  rm,
  rmdir,
  symlink,
} from 'node:fs/promises';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { Observed } from '../../../core/scan-judgement.ts';
import { displayPath, ROOT, type TreePath } from '../../../core/tree-path.ts';
import { observeHandle, readFileContent, readLinkContent } from '../scan/content.ts';
import type { FilesContext } from '../scan/context.ts';
import { look, namesIn } from '../scan/look.ts';
import { type HeldDirectory, OpenDirectories, privatePath } from '../scan/open-directories.ts';
import { flushDirectories } from './flush-directories.ts';
import { setAside } from './set-aside.ts';
import { setModified } from './times.ts';

export const TEMP_DIRECTORY = privatePath('tmp');
const IN = 'files-in-';
const OUT = 'files-out-';

export interface Temp {
  readonly name: string;
  readonly seen: Observed;
}

let counter = 0;

export function tempName(): string {
  counter += 1;
  return `${IN}${counter}-${randomBytes(6).toString('hex')}`;
}

/** The name under which a temp changes places with a file of the store. */
export function outName(hash: string): string {
  counter += 1;
  return `${OUT}${hash}-${counter}-${randomBytes(6).toString('hex')}`;
}

/** Opens a new temp for writing; only this process's user can read it until it is finished. */
export async function createTemp(directory: HeldDirectory, name: string): Promise<FileHandle> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  return open(directory.at(name), flags, 0o600);
}

/** Owner, mode and time as the entry says; fsynced when asked. Returns the stat to compare with later. */
export async function finishTemp(
  context: FilesContext,
  handle: FileHandle,
  entry: ManifestEntry,
  flush: boolean,
): Promise<Observed> {
  if (context.owners) await handle.chown(entry.uid, entry.gid);
  // After chown, which clears set-user-id bits.
  await handle.chmod(entry.mode);
  setModified(`/proc/self/fd/${handle.fd}`, entry.mtimeNs);
  if (flush) await handle.sync();
  const seen = await observeHandle(handle);
  if (!seen) throw new Error('a temp file is no file any more');
  return seen;
}

/** A symlink as a temp. */
export async function createLinkTemp(
  context: FilesContext,
  directory: HeldDirectory,
  entry: ManifestEntry,
): Promise<Temp> {
  const name = tempName();
  await symlink(Buffer.from(entry.target ?? '', 'latin1'), directory.at(name));
  if (context.owners) await lchown(directory.at(name), entry.uid, entry.gid);
  const made = await look(directory, name);
  if (made.kind !== 'here') throw new Error('a temp symlink went away');
  return { name, seen: made.seen };
}

/** Made if needed, and cleaned: what an earlier run left is removed, or kept aside if it was displaced. */
export async function prepareTemps(context: FilesContext): Promise<void> {
  await mkdir(context.store.at('.twinsite/tmp'), { recursive: true, mode: 0o700 });
  await using directories = new OpenDirectories(context.store);
  await directories.use(TEMP_DIRECTORY, async (temps) => {
    for (const name of await namesIn(temps)) {
      if (name.startsWith(IN)) await rm(temps.at(name), { recursive: true, force: true });
      else if (name.startsWith(OUT)) await recover(context, directories, temps, name);
    }
  });
}

async function recover(
  context: FilesContext,
  directories: OpenDirectories,
  temps: HeldDirectory,
  name: string,
): Promise<void> {
  const found = await look(temps, name);
  if (found.kind !== 'here') return;
  if (found.seen.type === 'dir') {
    // Only an empty one goes; what gained children at the last moment is for a person.
    return rmdir(temps.at(name)).catch(() =>
      context.log.warn('files.left-in-tmp', { name: displayPath(name) }),
    );
  }
  const read =
    found.seen.type === 'symlink'
      ? await readLinkContent(temps, name, found.seen)
      : await readFileContent(temps, name, found.seen, false);
  if (!read) return;
  const { hash } = read.content;
  // The exchange had not happened: this is the new content, and it will be fetched again.
  if (name.startsWith(`${OUT}${hash}-`)) return rm(temps.at(name), { force: true });
  const touched = new Set<TreePath>();
  const kept = await setAside(
    context,
    directories,
    {
      kind: context.index.isKnown(hash, ROOT) ? 'trash' : 'conflict',
      name,
      path: 'recovered' as TreePath,
      hash,
      size: found.seen.size,
      site: context.site,
    },
    touched,
  );
  await flushDirectories(context, directories, touched);
  context.index.write(() => context.index.kept.add(kept));
  context.log.warn('files.recovered', { place: kept.place, hash });
}
