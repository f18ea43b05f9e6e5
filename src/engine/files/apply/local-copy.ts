/** Content that is here already, under another name or set aside, is copied instead of pulled. */
import { constants, type FileHandle, open, rm } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import type { ManifestEntry } from '../../../core/manifest.ts';
import { nameOf, parentOf, type TreePath } from '../../../core/tree-path.ts';
import { createSha256 } from '../../../platform/hashing.ts';
import type { FilesContext } from '../scan/context.ts';
import type { HeldDirectory, OpenDirectories } from '../scan/open-directories.ts';
import { createTemp, finishTemp, TEMP_DIRECTORY, type Temp, tempName } from './temps.ts';

const PIECE_BYTES = 256 * 1024;
const MISSING = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES'];

/** A temp with the entry's content, verified as it was copied; null when it is not here after all. */
export async function copyLocally(
  context: FilesContext,
  directories: OpenDirectories,
  entry: ManifestEntry,
  flush: boolean,
): Promise<Temp | null> {
  const { index } = context;
  if (!index.claims(entry.hash) && !index.kept.has(entry.hash)) return null;
  const places = [
    ...index.withHash(entry.hash).map((row) => row.entry.path),
    ...index.kept.withHash(entry.hash).map((kept) => kept.place),
  ];
  for (const place of places) {
    const temp = await copyFrom(context, directories, entry, place, flush);
    if (temp) return temp;
  }
  return null;
}

async function copyFrom(
  context: FilesContext,
  directories: OpenDirectories,
  entry: ManifestEntry,
  place: TreePath,
  flush: boolean,
): Promise<Temp | null> {
  let source: FileHandle;
  try {
    source = await directories.use(parentOf(place), (parent) =>
      open(
        parent.at(nameOf(place)),
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      ),
    );
  } catch (error) {
    if (MISSING.includes(systemCode(error) ?? '')) return null;
    throw error;
  }
  try {
    return await directories.use(TEMP_DIRECTORY, (temps) =>
      copyToTemp(context, temps, entry, source, flush),
    );
  } finally {
    await source.close();
  }
}

async function copyToTemp(
  context: FilesContext,
  temps: HeldDirectory,
  entry: ManifestEntry,
  source: FileHandle,
  flush: boolean,
): Promise<Temp | null> {
  const name = tempName();
  const handle = await createTemp(temps, name);
  let temp: Temp | null = null;
  try {
    const hasher = createSha256();
    const piece = Buffer.allocUnsafe(Math.max(1, Math.min(PIECE_BYTES, entry.size)));
    let offset = 0;
    for (;;) {
      const { bytesRead } = await source.read(piece, 0, piece.length, offset);
      if (bytesRead === 0 || offset > entry.size) break;
      const part = piece.subarray(0, bytesRead);
      hasher.update(part);
      for (let at = 0; at < bytesRead; ) {
        at += (await handle.write(part, at, bytesRead - at)).bytesWritten;
      }
      offset += bytesRead;
    }
    if (offset === entry.size && hasher.hex() === entry.hash) {
      temp = { name, seen: await finishTemp(context, handle, entry, flush) };
    }
    return temp;
  } finally {
    await handle.close();
    if (!temp) await rm(temps.at(name), { force: true });
  }
}
