/** How the last run ended: whether the page cache may have been lost since. */
import { readFileSync } from 'node:fs';
import type { FileIndex } from './file-index.ts';

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/**
 * Marks the run as begun. If the last one ended without a mark and the machine was started again
 * since, what applications wrote last may be lost, in part, without a trace: `cache_lost` says so.
 */
export function startRun(index: FileIndex): void {
  const { meta } = index;
  const before = meta.get('boot_id');
  const now = bootId();
  const cacheLost = before !== null && before !== now && meta.get('clean') === null;
  index.write(() => {
    if (cacheLost) meta.set('cache_lost', '1');
    meta.set('boot_id', now);
    meta.remove('clean');
  });
}

/** Ends the time of doubt after a power cut. */
export function endDoubt(index: FileIndex): void {
  if (index.meta.get('cache_lost') !== null) index.write(() => index.meta.remove('cache_lost'));
}

/** Marks a clean stop. */
export async function endRun(index: FileIndex): Promise<void> {
  index.write(() => index.meta.set('clean', '1'));
  await index.flushed().catch(() => undefined);
}
