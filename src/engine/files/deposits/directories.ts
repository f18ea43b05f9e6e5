/**
 * Directories below the store, made and flushed. All new ones of a file are made first and flushed
 * together after the rename: on a journalling file system that is one commit instead of three, and a
 * crash before it leaves nothing that anybody was told of.
 */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { systemCode } from '../../../core/errors.ts';
import type { OwnStore } from '../../../core/ports.ts';
import { fsyncDirectory } from '../../../platform/durable.ts';
import { fsyncError, storeError } from './store-errors.ts';

/** Shared directories (collection, shard) that are remembered as durable. */
const MAX_KNOWN = 65_536;
/** `deposits/<collection>/<shard>`: deeper ones belong to one deposit and are not remembered. */
const SHARED_DEPTH = 3;

export interface Directories {
  /** Makes `directory` and its parents; gives those that must be flushed for its entry to last. */
  make(directory: string): Promise<readonly string[]>;
  /** All parents of `directory` whose entries are not known to be durable, and itself. */
  chain(directory: string): readonly string[];
  /** Flushes them, at once. A failed fsync puts the store in doubt and throws. */
  flush(directories: readonly string[]): Promise<void>;
  /** Something removed directories: everything is looked at again. */
  forget(): void;
}

function prefixes(directory: string): string[] {
  const parts = directory.split('/');
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

const parentOf = (directory: string) => {
  const parent = path.posix.dirname(directory);
  return parent === '' ? '.' : parent;
};

export function createDirectories(store: OwnStore): Directories {
  const known = new Set<string>();

  const unknownOf = (directory: string) => prefixes(directory).filter((one) => !known.has(one));
  const makeAll = async (directories: readonly string[]) => {
    for (const one of directories) {
      await fs.mkdir(store.at(one), { mode: 0o755 }).catch((error: unknown) => {
        if (systemCode(error) !== 'EEXIST') throw error;
      });
    }
  };
  const toFlush = (directory: string) => [
    directory,
    ...unknownOf(directory).map(parentOf).toReversed(),
  ];
  return {
    async make(directory) {
      try {
        await makeAll(unknownOf(directory));
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw storeError(store, error, `mkdir ${directory}`);
        // One that was known is gone: somebody removed it. Look at all of them again, once.
        known.clear();
        await makeAll(unknownOf(directory)).catch((again: unknown) => {
          throw storeError(store, again, `mkdir ${directory}`);
        });
      }
      return toFlush(directory);
    },
    chain: toFlush,
    async flush(directories) {
      await Promise.all(
        directories.map(async (one) => {
          await fsyncDirectory(store.at(one)).catch((error: unknown) => {
            throw fsyncError(store, error, `fsync of directory ${one}`);
          });
        }),
      );
      const flushed = new Set(directories);
      for (const one of directories.flatMap(prefixes)) {
        const shared = one.split('/').length <= SHARED_DEPTH;
        if (!shared || one === '.' || !flushed.has(parentOf(one))) continue;
        if (known.size >= MAX_KNOWN) known.clear();
        known.add(one);
      }
    },
    forget: () => known.clear(),
  };
}
