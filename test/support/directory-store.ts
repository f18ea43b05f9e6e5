/** A store on a plain directory, held open like the real one; for tests of what works on stores. */
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError } from '../../src/core/errors.ts';
import type { OwnStore, StoreHealth } from '../../src/core/ports.ts';

export interface DirectoryStore extends OwnStore {
  /** Every doubt() so far. */
  readonly doubts: readonly string[];
  /** Makes it healthy again. */
  heal(): void;
  close(): Promise<void>;
}

/** Opens (or makes) a marked directory store. assertSame() compares marker, device and inode by path. */
export async function openDirectoryStore(root: string, id = 'test'): Promise<DirectoryStore> {
  await fs.mkdir(path.join(root, '.twinsite', 'tmp'), { recursive: true });
  const marker = path.join(root, '.twinsite', 'store.json');
  await fs.writeFile(marker, JSON.stringify({ id }), { flag: 'a' });
  const handle = await fs.open(root, constants.O_RDONLY | constants.O_DIRECTORY);
  const held = await handle.stat({ bigint: true });
  const doubts: string[] = [];
  let health: StoreHealth = { ok: true };
  return {
    id,
    generation: '1',
    root,
    doubts,
    at: (relative) => `/proc/self/fd/${handle.fd}/${relative}`,
    async assertSame() {
      const now = await fs.stat(root, { bigint: true }).catch(() => null);
      const same = now?.dev === held.dev && now.ino === held.ino;
      const marked = same && (await fs.stat(marker).catch(() => null)) !== null;
      if (!marked) throw new AppError('store-failed', `${root} is not the store that was opened.`);
    },
    doubt(reason) {
      doubts.push(reason);
      health = { ok: false, reason };
    },
    health: () => health,
    heal() {
      health = { ok: true };
    },
    close: () => handle.close(),
  };
}
