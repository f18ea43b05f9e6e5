import type { Clock } from '../core/ports.ts';

/**
 * The work's result, or `late()` when it has not come within `ms`. Late work goes on unwatched: it
 * must be bounded by itself, and its failure is then nobody's.
 */
export async function within<T, L>(
  clock: Clock,
  ms: number,
  work: Promise<T>,
  late: () => L | Promise<L>,
): Promise<T | L> {
  const timer = new AbortController();
  const LATE = Symbol('late');
  work.catch(() => undefined);
  try {
    const first = await Promise.race([
      work,
      clock.sleep(ms, timer.signal).then((): typeof LATE => LATE),
    ]);
    return first === LATE ? await late() : (first as T);
  } finally {
    timer.abort();
  }
}
