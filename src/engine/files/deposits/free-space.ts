import { promises as fs } from 'node:fs';
import { AppError } from '../../../core/errors.ts';
import type { DepositContext } from './context.ts';
import { storeError } from './store-errors.ts';

/** An answer of statfs is believed this long. */
const FREE_SPACE_AGE_MS = 1000;
/** Writers ask again after this many bytes of one file. */
export const RECHECK_BYTES = 64 * 1024 * 1024;

export interface FreeSpace {
  /** Throws AppError `storage` when `bytes` more would leave less than the floor. */
  require(bytes: number): Promise<void>;
}

export function createFreeSpace(context: DepositContext): FreeSpace {
  const { store, clock, minFreeRatio } = context;
  let seen: { atMs: number; free: number; floor: number } | null = null;
  return {
    async require(bytes) {
      const nowMs = clock.monotonicMs();
      if (!seen || nowMs - seen.atMs > FREE_SPACE_AGE_MS) {
        const s = await fs.statfs(store.at('.')).catch((error: unknown) => {
          throw storeError(store, error, 'statfs');
        });
        seen = { atMs: nowMs, free: s.bavail * s.bsize, floor: s.blocks * s.bsize * minFreeRatio };
      }
      if (seen.free - bytes >= seen.floor) return;
      throw new AppError(
        'storage',
        `The store ${store.root} has ${Math.floor(seen.free / 2 ** 20)} MiB free and keeps ${Math.ceil(seen.floor / 2 ** 20)} MiB; ${bytes} more bytes do not fit.`,
      );
    },
  };
}
