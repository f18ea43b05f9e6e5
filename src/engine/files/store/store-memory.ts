/** `<data>/store.json`: which store this site had, so that an empty mount is never taken for a new one. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import { replaceFileDurable } from '../../../platform/durable.ts';
import type { RememberedStore } from './own-store-rules.ts';

const schema = z.object({
  format: z.literal(1),
  storeId: z.uuid(),
  origin: z.enum(['self', 'person']),
  settled: z.boolean(),
});

export function storeMemoryPath(dataDir: string): string {
  return path.join(dataDir, 'store.json');
}

/** Null when no store was ever known here. Throws AppError `config` when the file is damaged: guessing could lose data. */
export async function recallStore(dataDir: string): Promise<RememberedStore | null> {
  const file = storeMemoryPath(dataDir);
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
    const { storeId, origin, settled } = schema.parse(JSON.parse(content.slice(0, 4096)));
    return { storeId, origin, settled };
  } catch (error) {
    throw new AppError(
      'config',
      `${file} is damaged. It names this site's store; put the storeId of the store's .twinsite/store.json back into it, or restore it.`,
      { cause: error },
    );
  }
}

/** Durable when it resolves. */
export async function rememberStore(dataDir: string, store: RememberedStore): Promise<void> {
  await replaceFileDurable(
    storeMemoryPath(dataDir),
    `${JSON.stringify({ format: 1, ...store })}\n`,
  );
}
