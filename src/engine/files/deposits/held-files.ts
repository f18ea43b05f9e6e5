/**
 * What of this store's deposits is known to be right. Knowledge lasts as long as the process and the
 * file's inode, size and times; everything else is read again.
 */
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';
import { describeError, systemCode } from '../../../core/errors.ts';
import { createSha256, SLICE_BYTES } from '../../../platform/hashing.ts';
import type { DepositContext, PlacedFile } from './context.ts';
import type { Directories } from './directories.ts';
import { createSemaphore } from './keyed-lock.ts';
import { fsyncError } from './store-errors.ts';

const MAX_KNOWN = 20_000;
/** Whole files read again at the same time. */
const MAX_READERS = 4;

export type Finding = 'right' | 'wrong' | 'missing';

export interface HeldFiles {
  /** Remembers a file that was just published or verified, as it is now. */
  remember(file: PlacedFile): Promise<void>;
  forget(file: Pick<PlacedFile, 'id'>): void;
  /** True when the file is as it was when it was remembered. Reads no content. */
  isKnown(file: PlacedFile): Promise<boolean>;
  /** Flushes the file and its directories, reads all of it, and remembers it when it is right. */
  verify(file: PlacedFile): Promise<Finding>;
}

interface Seen {
  readonly sha256: string;
  readonly path: string;
  readonly stamp: string;
}

async function stampOf(file: string): Promise<string | null> {
  try {
    const s = await fs.lstat(file, { bigint: true });
    return s.isFile() ? `${s.dev}/${s.ino}/${s.size}/${s.mtimeNs}/${s.ctimeNs}` : '';
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return null;
    throw error;
  }
}

async function hashOf(handle: fs.FileHandle): Promise<string> {
  const hash = createSha256();
  const buffer = new Uint8Array(SLICE_BYTES);
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return hash.hex();
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}

export function createHeldFiles(context: DepositContext, directories: Directories): HeldFiles {
  const { store, log } = context;
  const known = new Map<string, Seen>();
  const readers = createSemaphore(MAX_READERS);

  const remember = async (file: PlacedFile) => {
    const stamp = await stampOf(store.at(file.path));
    known.delete(file.id);
    if (!stamp) return;
    known.set(file.id, { sha256: file.sha256, path: file.path, stamp });
    const oldest = known.keys().next();
    if (known.size > MAX_KNOWN && !oldest.done) known.delete(oldest.value);
  };

  const readAgain = async (file: PlacedFile): Promise<Finding> => {
    const before = await stampOf(store.at(file.path));
    if (before === null) return 'missing';
    if (before === '') return 'wrong';
    let handle: fs.FileHandle;
    try {
      handle = await fs.open(store.at(file.path), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return 'missing';
      throw error;
    }
    try {
      if (Number((await handle.stat()).size) !== file.sizeBytes) return 'wrong';
      // Flushed first: what is read is then what a power cut would leave.
      await handle.sync().catch((error: unknown) => {
        throw fsyncError(store, error, `fsync ${file.path}`);
      });
      if ((await hashOf(handle)) !== file.sha256) return 'wrong';
    } catch (error) {
      if (systemCode(error) !== 'EIO') throw error;
      log.error('deposit.unreadable', { path: file.path, error: describeError(error) });
      return 'wrong';
    } finally {
      await handle.close();
    }
    await directories.flush(directories.chain(path.posix.dirname(file.path)));
    if (before !== (await stampOf(store.at(file.path)))) return 'wrong';
    await remember(file);
    return 'right';
  };

  return {
    remember,
    forget: (file) => {
      known.delete(file.id);
    },
    async isKnown(file) {
      const seen = known.get(file.id);
      if (seen?.sha256 !== file.sha256 || seen.path !== file.path) return false;
      if (seen.stamp !== (await stampOf(store.at(file.path)))) {
        known.delete(file.id);
        return false;
      }
      // Used again: the last to be dropped.
      known.delete(file.id);
      known.set(file.id, seen);
      return true;
    },
    async verify(file) {
      const release = await readers.acquire();
      try {
        return await readAgain(file);
      } finally {
        release?.();
      }
    },
  };
}
