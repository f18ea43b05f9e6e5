/** The epoch on disk: in --data and in this site's store. It never goes down and is flushed before use. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { compareEpochs, type Epoch, formatEpoch, higherEpoch } from '../core/epoch.ts';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import type { StoreProbe } from '../core/store-guard.ts';
import { replaceFileDurable } from '../platform/durable.ts';
import { epochSchema } from './pair-memory.ts';

export interface EpochStore {
  /** The highest epoch that this process knows to be on disk; null before the first. */
  current(): Epoch | null;
  /** Reads --data, the own store and the peer's mount; the highest counts. A store that does not answer is skipped. */
  load(): Promise<Epoch | null>;
  /**
   * Flushes `epoch` to --data, then to the own store. With `inStore: 'required'` a store that cannot
   * take it is an error and current() stays. Throws when it would go down.
   */
  persist(epoch: Epoch, inStore: 'required' | 'best-effort'): Promise<void>;
  /** Brings a store that missed an epoch up to date; for the times when it is healthy. Never rejects. */
  heal(): Promise<void>;
}

async function readData(file: string, log: Log): Promise<Epoch | null> {
  let content: string;
  try {
    content = await fs.readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw new AppError('config', `${file} cannot be read: ${describeError(error)}.`, {
      cause: error,
    });
  }
  try {
    return epochSchema.parse(JSON.parse(content.slice(0, 4096)));
  } catch (error) {
    // The store has it too, and the peer knows a higher one if there is one.
    log.warn('epoch.damaged', { file, error: describeError(error) });
    return null;
  }
}

const textOf = (epoch: Epoch): string =>
  `${JSON.stringify({ format: 1, number: epoch.number, site: epoch.site })}\n`;

export function createEpochStore(options: {
  readonly dataDir: string;
  readonly own: StoreProbe;
  readonly peer: StoreProbe | null;
  readonly log: Log;
}): EpochStore {
  const file = path.join(options.dataDir, 'epoch.json');
  let current: Epoch | null = null;
  /** What the own store is known to carry. */
  let inStore: Epoch | null = null;

  const fromStore = async (probe: StoreProbe | null): Promise<Epoch | null> => {
    if (probe === null || probe.last()?.condition === 'failed') return null;
    try {
      return await probe.readEpoch();
    } catch (error) {
      options.log.warn('epoch.unreadable', { root: probe.root, error: describeError(error) });
      return null;
    }
  };

  const toStore = async (epoch: Epoch): Promise<void> => {
    await options.own.writeEpoch(epoch);
    inStore = epoch;
  };

  return {
    current: () => current,
    async load() {
      const [data, own, peer] = await Promise.all([
        readData(file, options.log),
        fromStore(options.own),
        fromStore(options.peer),
      ]);
      inStore = own;
      current = higherEpoch(higherEpoch(higherEpoch(data, own), peer), current);
      if (current !== null && (data === null || compareEpochs(current, data) !== 0)) {
        await replaceFileDurable(file, textOf(current));
      }
      return current;
    },
    async persist(epoch, need) {
      if (current !== null && compareEpochs(epoch, current) < 0) {
        throw new Error(
          `an epoch never goes down: ${formatEpoch(current)} to ${formatEpoch(epoch)}`,
        );
      }
      await replaceFileDurable(file, textOf(epoch));
      // A crash here: --data has the epoch and the store has not; load() takes the higher one.
      try {
        await toStore(epoch);
      } catch (error) {
        if (need === 'required') throw error;
        options.log.warn('epoch.not-in-store', { error: describeError(error) });
      }
      current = epoch;
    },
    async heal() {
      if (current === null || (inStore !== null && compareEpochs(inStore, current) >= 0)) return;
      await toStore(current).catch((error: unknown) =>
        options.log.debug('epoch.not-in-store', { error: describeError(error) }),
      );
    },
  };
}
