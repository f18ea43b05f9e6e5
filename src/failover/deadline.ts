import { AppError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';

/** The promise's result, or AppError `store-failed` after `ms`. The work itself goes on unobserved. */
export async function withDeadline<T>(
  work: Promise<T>,
  ms: number,
  clock: Clock,
  what: string,
): Promise<T> {
  const done = new AbortController();
  const late = clock.sleep(ms, done.signal).then((): never => {
    // Also taken when the work was first; nobody looks at the race's loser.
    throw new AppError('store-failed', `${what} took more than ${ms} ms.`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    late.catch(() => undefined);
    done.abort();
  }
}
