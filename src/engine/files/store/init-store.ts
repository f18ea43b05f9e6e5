/** `twinsite store init DIR [--adopt]`: makes a directory a store, once, because a person says so. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { StoreMarker } from '../../../core/store-guard.ts';
import { fsyncDirectory, replaceFileDurable } from '../../../platform/durable.ts';
import {
  formatMarker,
  MARKER_PATH,
  newMarker,
  PRIVATE_DIRECTORY,
  parseMarker,
  thisHost,
} from './marker.ts';

/** What a fresh file system may contain and still be empty. */
const FURNITURE = new Set(['lost+found', '.snapshot']);
/** What an interrupted first start may leave in the private directory. */
const LEFTOVER = /^(?:\.store\.json\.[0-9a-f]+\.tmp|lock)$/;

/** Entries of `directory` that make it non-empty, at most `limit`. */
export async function foreignEntries(directory: string, limit: number): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of await fs.opendir(directory)) {
    if (FURNITURE.has(entry.name)) continue;
    if (entry.name === PRIVATE_DIRECTORY) {
      const inside = await fs.readdir(path.join(directory, PRIVATE_DIRECTORY));
      if (inside.every((name) => LEFTOVER.test(name))) continue;
    }
    found.push(entry.name);
    if (found.length >= limit) break;
  }
  return found;
}

/** Writes a marker durably below `root` (which may be a held handle's path). */
export async function writeMarker(root: string, marker: StoreMarker): Promise<void> {
  const directory = path.join(root, PRIVATE_DIRECTORY);
  await fs.mkdir(directory, { recursive: true, mode: 0o755 });
  await fsyncDirectory(root);
  // A crash here leaves an empty private directory, which counts as none.
  await replaceFileDurable(path.join(root, MARKER_PATH), formatMarker(marker), 0o644);
}

async function refusal(
  directory: string,
  entries: readonly string[],
  adopt: boolean,
): Promise<string | null> {
  const deposits = await fs.lstat(path.join(directory, 'deposits')).catch(() => null);
  if (deposits !== null) {
    return `${directory} already has a deposits/ tree: it belongs to a store whose marker is lost or was never copied. Bring its .twinsite/store.json back, or choose another directory.`;
  }
  if (!adopt && entries.length > 0) {
    return `${directory} is not empty (${entries.slice(0, 3).join(', ')}${entries.length > 3 ? ', …' : ''}). Use --adopt to take the files that are there as this site's.`;
  }
  return null;
}

/**
 * Makes `directory` a store; it is made when missing. Durable when it resolves. Throws AppError
 * `conflict` when it is a store already or not empty, `no-permission`, `config`.
 */
export async function initStore(
  directory: string,
  options: {
    readonly adopt: boolean;
    readonly pairId: string | null;
    readonly site: string | null;
    readonly wallMs: number;
  },
): Promise<{ readonly marker: StoreMarker; readonly message: string }> {
  const root = path.resolve(directory);
  try {
    await fs.mkdir(root, { recursive: true, mode: 0o755 });
    const present = await fs.readFile(path.join(root, MARKER_PATH), 'utf8').catch((error) => {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    });
    if (present !== null) {
      const known = parseMarker(present);
      throw new AppError(
        'conflict',
        known === null
          ? `${root} has a damaged marker ${MARKER_PATH}. Look at it; remove it by hand only when you know that no site uses this store.`
          : `${root} is a store already (${known.storeId}${known.site === null ? '' : `, of site ${known.site}`}). Nothing was changed.`,
      );
    }
    const entries = await foreignEntries(root, 4);
    const refused = await refusal(root, entries, options.adopt);
    if (refused !== null) throw new AppError('conflict', refused);
    const marker = newMarker({
      pair: options.pairId,
      site: options.site,
      host: await thisHost(),
      wallMs: options.wallMs,
    });
    await writeMarker(root, marker);
    const took = entries.length > 0 ? ' The files in it are this site’s from its next start.' : '';
    return {
      marker,
      message: `${root} is now a store (${marker.storeId}).${took} Next: twinsite serve --store ${root} …`,
    };
  } catch (error) {
    if (error instanceof AppError) throw error;
    const code = systemCode(error);
    const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    throw new AppError(
      denied ? 'no-permission' : 'config',
      `${root} cannot be made a store: ${describeError(error)}.`,
      { cause: error },
    );
  }
}
