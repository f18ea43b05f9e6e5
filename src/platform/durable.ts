/**
 * Durable changes to directories and small files. Each function's promise is kept when it resolves,
 * across a power cut: temp → fsync → rename → fsync of the directory.
 */
import { randomBytes } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';

/** Flushes a directory's entries. */
export async function fsyncDirectory(directory: string): Promise<void> {
  const handle = await fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Flushes a file's bytes and metadata. */
export async function fsyncFile(file: string): Promise<void> {
  const handle = await fs.open(file, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes `relative` below `base` with every missing parent and fsyncs every directory that gained an
 * entry, up to `base`, which the caller knows to be durable. A directory that exists is fsynced too
 * when its parent was made here: another request may have made it a moment ago and not flushed yet.
 */
export async function makeDirectoriesDurable(
  base: string,
  relative: string,
  knownDurable: { has(path: string): boolean; add(path: string): void },
): Promise<void> {
  const parts = relative.split('/').filter((part) => part !== '');
  let current = '';
  for (const part of parts) {
    const parent = current;
    current = current === '' ? part : `${current}/${part}`;
    if (knownDurable.has(current)) continue;
    await fs.mkdir(path.join(base, current), { mode: 0o755 }).catch((error: unknown) => {
      if ((error as { code?: string }).code !== 'EEXIST') throw error;
    });
    await fsyncDirectory(parent === '' ? base : path.join(base, parent));
    knownDurable.add(current);
  }
}

/** Replaces a small file atomically and durably. Crash before the rename: the old one stays. */
export async function replaceFileDurable(
  file: string,
  content: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const directory = path.dirname(file);
  const temp = path.join(
    directory,
    `.${path.basename(file)}.${randomBytes(6).toString('hex')}.tmp`,
  );
  const handle = await fs.open(temp, 'wx', mode);
  try {
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    await fs.rename(temp, file);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await fs.rm(temp, { force: true });
    throw error;
  }
  await fsyncDirectory(directory);
}
