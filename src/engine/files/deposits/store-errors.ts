import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { Clock, OwnStore } from '../../../core/ports.ts';

const FULL = new Set(['ENOSPC', 'EDQUOT']);
/** Errors that say the disk or mount is going, rather than that one name is in the way. */
const SICK = new Set(['EIO', 'ESTALE', 'EROFS', 'ENODEV', 'ENXIO', 'ENOTCONN', 'EHOSTDOWN']);

/** A system error of the own store in our words: `storage` when it is full, else `store-failed`. */
export function storeError(store: OwnStore, error: unknown, doing: string): AppError {
  if (error instanceof AppError) return error;
  const code = systemCode(error) ?? '';
  if (FULL.has(code)) {
    return new AppError('storage', `The store ${store.root} is full (${doing}).`, { cause: error });
  }
  if (SICK.has(code)) store.doubt(`${doing}: ${describeError(error)}`);
  return new AppError('store-failed', `The store ${store.root} failed (${doing}): ${code}.`, {
    cause: error,
  });
}

/**
 * A failed fsync: what was written may be gone from the page cache too, so asking again would lie.
 * The store is in doubt whatever the code.
 */
export function fsyncError(store: OwnStore, error: unknown, doing: string): AppError {
  store.doubt(`fsync failed (${doing}): ${describeError(error)}`);
  return storeError(store, error, doing);
}

/** The value, or `store-failed` and doubt after `ms`: a hung disk must not hang a request. */
export async function withinStoreDeadline<T>(
  clock: Clock,
  store: OwnStore,
  ms: number,
  doing: string,
  work: Promise<T>,
): Promise<T> {
  const done = new AbortController();
  const late = clock.sleep(ms, done.signal).then(() => {
    if (done.signal.aborted) return null;
    const detail = `The store ${store.root} did not finish in ${ms} ms (${doing}).`;
    store.doubt(detail);
    return new AppError('store-failed', detail);
  });
  try {
    const first = await Promise.race([work.then((value) => ({ value })), late]);
    if (first instanceof AppError) throw first;
    // `late` gives null only after the finally below.
    return (first as { value: T }).value;
  } finally {
    done.abort();
  }
}
