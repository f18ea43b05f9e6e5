/**
 * A file on its way in: written beside the store's own things under a random name, flushed in
 * steps while it grows, and visible to nobody until it is published.
 */
import { randomBytes } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import { describeError, systemCode } from '../../../core/errors.ts';
import { SLICE_BYTES } from '../../../platform/hashing.ts';
import { type DepositContext, TEMP_DIRECTORY } from './context.ts';
import { fsyncError, storeError, withinStoreDeadline } from './store-errors.ts';

/** Dirty bytes after which a flush begins in the background; keeps the last fsync short. */
const FLUSH_EVERY_BYTES = 16 * 1024 * 1024;
/** Dirty bytes at which writing waits for the flush: the disk sets the pace, not the page cache. */
const MAX_DIRTY_BYTES = 48 * 1024 * 1024;
/** Pieces that are gathered into one write. */
const MAX_PIECES = 64;

export interface StoreTemp {
  /** Relative to the store. */
  readonly path: string;
  /**
   * Takes the next bytes; they must not be changed afterwards. Resolves when less than one slice
   * waits in memory. Throws AppError `storage` or `store-failed`, then only discard() is left.
   */
  write(bytes: Uint8Array): Promise<void>;
  /** Everything written so far is in the file (not flushed). */
  drain(): Promise<void>;
  /** Cuts the file back to `bytes`; only after drain(). */
  truncate(bytes: number): Promise<void>;
  /** Flushes and closes; the temp is complete. Never tried again after an error. */
  finish(): Promise<FinishedTemp>;
  /** Closes and removes it, whatever its state; after publishing it does nothing. Never rejects. */
  discard(): Promise<void>;
  /** It has a place of its own now: discard() leaves it alone. */
  released(): void;
}

export interface FinishedTemp {
  readonly path: string;
  readonly device: bigint;
  readonly inode: bigint;
  /** True once it has a place of its own. */
  isReleased(): boolean;
  released(): void;
  discard(): Promise<void>;
}

/** True for the names that createTemp gives, whoever's process made them. */
export function isTempName(name: string): boolean {
  return /^[0-9a-f]{12}-[0-9a-f]{16}\.deposit$/.test(name);
}

async function openExclusive(context: DepositContext, path: string): Promise<fs.FileHandle> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_APPEND, O_NOFOLLOW } = constants;
  // Appending: after a truncate the next byte must follow the last one kept.
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW;
  const open = () => fs.open(context.store.at(path), flags, 0o644);
  try {
    return await open();
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    await fs.mkdir(context.store.at(TEMP_DIRECTORY), { recursive: true, mode: 0o755 });
    return await open();
  }
}

/** writev(2) until everything is written. */
async function writeAll(handle: fs.FileHandle, pieces: Uint8Array[]): Promise<void> {
  let rest = pieces;
  while (rest.length > 0) {
    let { bytesWritten: done } = await handle.writev(rest);
    const next: Uint8Array[] = [];
    for (const piece of rest) {
      if (done >= piece.length) {
        done -= piece.length;
        continue;
      }
      next.push(piece.subarray(done));
      done = 0;
    }
    rest = next;
  }
}

/** Opens a new temp (O_EXCL). Throws AppError `storage` or `store-failed`. */
export async function createTemp(context: DepositContext): Promise<StoreTemp> {
  const path = `${TEMP_DIRECTORY}/${context.tempTag}-${randomBytes(8).toString('hex')}.deposit`;
  const { store, clock, pace } = context;
  const within = <T>(doing: string, work: Promise<T>) =>
    withinStoreDeadline(clock, store, pace.storeDeadlineMs, doing, work);
  const opening = openExclusive(context, path);
  try {
    return tempOn(context, path, await within('open a temp', opening), within);
  } catch (error) {
    // An open that comes through after its deadline must not leave a handle or a file behind.
    const undo = opening.then(async (handle) => {
      await handle.close();
      await fs.unlink(store.at(path));
    });
    undo.catch(() => undefined);
    throw storeError(store, error, `open ${path}`);
  }
}

type Within = <T>(doing: string, work: Promise<T>) => Promise<T>;

/** The bytes on their way to one handle: gathered, written one batch at a time, flushed in steps. */
function createFlow(context: DepositContext, path: string, handle: fs.FileHandle, within: Within) {
  const { store } = context;
  let pieces: Uint8Array[] = [];
  let waiting = 0;
  let dirty = 0;
  let writing: Promise<void> = Promise.resolve();
  let flushing: Promise<void> | null = null;
  let failure: Error | null = null;

  const check = () => {
    if (failure) throw failure;
  };
  const fail = (error: unknown) => {
    failure ??= storeError(store, error, `write ${path}`);
  };
  const flush = () => {
    dirty = 0;
    flushing = handle
      .datasync()
      .catch((error: unknown) => fail(fsyncError(store, error, `fsync ${path}`)))
      .finally(() => {
        flushing = null;
      });
  };
  const startWrite = () => {
    const batch = pieces;
    const size = waiting;
    pieces = [];
    waiting = 0;
    writing = writeAll(handle, batch).then(() => {
      dirty += size;
      context.garbage.passed(size);
    }, fail);
  };
  return {
    check,
    async push(bytes: Uint8Array) {
      check();
      if (bytes.length === 0) return;
      pieces.push(bytes);
      waiting += bytes.length;
      if (waiting < SLICE_BYTES && pieces.length < MAX_PIECES) return;
      // One batch is being written while the next is gathered.
      await within(`write ${path}`, writing);
      startWrite();
      if (dirty >= FLUSH_EVERY_BYTES && !flushing) flush();
      if (dirty >= MAX_DIRTY_BYTES && flushing) await within(`fsync ${path}`, flushing);
      check();
    },
    async drain() {
      await within(`write ${path}`, writing);
      if (pieces.length > 0) startWrite();
      await within(`write ${path}`, writing);
      check();
    },
    /** Nothing of this flow touches the handle after it. */
    async settle() {
      await writing;
      await flushing;
    },
  };
}

function tempOn(
  context: DepositContext,
  path: string,
  handle: fs.FileHandle,
  within: Within,
): StoreTemp {
  const { store, log } = context;
  const flow = createFlow(context, path, handle, within);
  let closed = false;
  let owned = true;
  let finishing: Promise<FinishedTemp> | null = null;
  const close = async () => {
    if (closed) return;
    closed = true;
    await handle.close();
  };
  let placed = false;
  const released = () => {
    owned = false;
    placed = true;
  };
  const remove = async () => {
    await finishing?.catch(() => undefined);
    await flow.settle();
    await close();
    if (!owned) return;
    owned = false;
    await fs.unlink(store.at(path));
  };
  const finish = async (): Promise<FinishedTemp> => {
    await flow.drain();
    context.failpoint('temp-written'); // crash here: a temp that the next start removes
    await within(`fsync ${path}`, flow.settle());
    flow.check();
    try {
      await within(`fsync ${path}`, handle.sync());
    } catch (error) {
      throw fsyncError(store, error, `fsync ${path}`);
    }
    context.failpoint('temp-synced'); // crash here: a temp that the next start removes
    const { dev, ino } = await handle.stat({ bigint: true });
    await close();
    return { path, device: dev, inode: ino, isReleased: () => placed, released, discard };
  };
  const discard = async () => {
    try {
      await within(`discard ${path}`, remove());
    } catch (error) {
      if (systemCode(error) !== 'ENOENT')
        log.warn('deposit.temp-kept', { path, error: describeError(error) });
    }
  };
  return {
    path,
    released,
    discard,
    write: flow.push,
    drain: flow.drain,
    async truncate(bytes) {
      await handle.truncate(bytes).catch((error: unknown) => {
        throw storeError(store, error, `truncate ${path}`);
      });
    },
    finish() {
      finishing ??= finish();
      return finishing;
    },
  };
}
