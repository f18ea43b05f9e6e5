/** How often this site was started, as its peer may compare it: the peer refuses a lower or doubled one. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import { replaceFileDurable } from '../platform/durable.ts';

const FILE_NAME = 'start-counter';

/**
 * Raises and flushes `<data>/start-counter`; returns the new number. It is at least the wall clock's
 * seconds, so that a site whose data was lost or restored is not taken for a clone of itself; where
 * the clock went back, it still grows by one. Throws AppError `no-permission` or `config`.
 */
export async function nextStartCounter(dataDir: string, nowWallMs = Date.now()): Promise<number> {
  const file = path.join(dataDir, FILE_NAME);
  try {
    const before = await fs.readFile(file, 'utf8').catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return '0';
      throw error;
    });
    // Not a number: as if it were lost. The clock takes its place.
    const last = /^\d{1,15}\s*$/.test(before) ? Number(before) : 0;
    const next = Math.max(last + 1, Math.floor(nowWallMs / 1000));
    // Crash before the rename: this number was never shown to anybody, the next start takes another.
    await replaceFileDurable(file, `${next}\n`);
    return next;
  } catch (error) {
    const code = systemCode(error);
    throw new AppError(
      code === 'EACCES' || code === 'EPERM' || code === 'EROFS' ? 'no-permission' : 'config',
      `The start counter ${file} cannot be raised (${describeError(error)}). Check --data and its owner.`,
      { cause: error },
    );
  }
}
