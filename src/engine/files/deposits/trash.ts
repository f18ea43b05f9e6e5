/** Deposit content that was moved aside, found again by file id and hash. Nothing here deletes. */
import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { systemCode } from '../../../core/errors.ts';
import type { OwnStore } from '../../../core/ports.ts';
import { fsyncDirectory } from '../../../platform/durable.ts';
import { renameNoReplace } from '../../../platform/libc.ts';
import { type PlacedFile, TRASH_DIRECTORY } from './context.ts';

const DEPOSIT_TRASH = `${TRASH_DIRECTORY}/deposits`;

/** Where a file with this id and content lies in the trash, if it was moved there as unclaimed. */
export function trashPathOf(file: Pick<PlacedFile, 'id' | 'sha256'>): string {
  return `${DEPOSIT_TRASH}/${file.id}.${file.sha256}`;
}

/** Where content goes that is not what its row says. */
export function rotPathOf(file: Pick<PlacedFile, 'id'>): string {
  return `${DEPOSIT_TRASH}/${file.id}.wrong-${randomBytes(4).toString('hex')}`;
}

export async function makeTrash(store: OwnStore): Promise<void> {
  await fs.mkdir(store.at(DEPOSIT_TRASH), { recursive: true, mode: 0o700 });
}

/**
 * Moves a file of the store into the trash, durably. A name taken there gets a suffix.
 * Crash after the rename: it is in the trash or where it was, whole either way.
 */
export async function moveToTrash(store: OwnStore, from: string, to: string): Promise<void> {
  await makeTrash(store);
  try {
    renameNoReplace(store.at(from), store.at(to));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    renameNoReplace(store.at(from), store.at(`${to}.${randomBytes(4).toString('hex')}`));
  }
  await fsyncDirectory(store.at(DEPOSIT_TRASH));
  await fsyncDirectory(store.at(path.posix.dirname(from)));
}

/** Removes the deposit's own two directories above `filePath` when they are empty. */
export async function removeEmptyParents(store: OwnStore, filePath: string): Promise<void> {
  const fileDirectory = path.posix.dirname(filePath);
  const depositDirectory = path.posix.dirname(fileDirectory);
  for (const directory of [fileDirectory, depositDirectory]) {
    try {
      await fs.rmdir(store.at(directory));
    } catch (error) {
      // Not empty: something else lives there, and it stays.
      if (['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) return;
      throw error;
    }
    await fsyncDirectory(store.at(path.posix.dirname(directory)));
  }
}
