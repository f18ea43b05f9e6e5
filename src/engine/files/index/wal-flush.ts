/** Makes committed transactions durable without stopping the event loop. */
import { type FileHandle, open } from 'node:fs/promises';
import { AppError, describeError } from '../../../core/errors.ts';

export interface WalFlush {
  /** Resolves when everything committed before the call is on disk. Calls made meanwhile share a flush. */
  flushed(): Promise<void>;
  close(): Promise<void>;
}

/** `file` is the database; its log is beside it. After a failed flush every call rejects. */
export function createWalFlush(file: string): WalFlush {
  let handle: FileHandle | null = null;
  let running: Promise<void> | null = null;
  let next: Promise<void> | null = null;
  let broken: AppError | null = null;

  const flush = async () => {
    if (broken !== null) throw broken;
    try {
      handle ??= await open(`${file}-wal`, 'r');
      await handle.sync();
    } catch (error) {
      // The kernel may have dropped the pages: a second flush would lie.
      broken = new AppError(
        'internal',
        `the file index cannot be flushed: ${describeError(error)}; check the disk of --data and restart`,
        { cause: error, kind: 'fatal' },
      );
      throw broken;
    }
  };
  const start = () => {
    const mine = flush().finally(() => {
      if (running === mine) running = null;
    });
    running = mine;
    return mine;
  };
  return {
    flushed() {
      if (!running) return start();
      // The running flush may have begun before the last commit: only the one after it counts.
      next ??= running
        .catch(() => undefined)
        .then(() => {
          next = null;
          return start();
        });
      return next;
    },
    async close() {
      await running?.catch(() => undefined);
      await handle?.close();
      handle = null;
    },
  };
}
