/** The border to the driver: its errors, and statements that may hang with the server. */
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { Clock } from '../../../core/ports.ts';

/** SQLSTATEs that say that the server or another transaction, not the statement, is the trouble. */
const SERVER_TROUBLE = /^(08|53|57|58|55P03|40)/;
const DISK_FULL = '53100';
const CONNECTION_TROUBLE = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
]);

/** True when the outcome of a statement is unknown because its connection broke or the server left. */
export function isDatabaseDown(error: unknown): boolean {
  if (error instanceof AppError) return error.code === 'database-down';
  const code = systemCode(error);
  if (code === null) return false;
  return CONNECTION_TROUBLE.has(code) || (code.length === 5 && SERVER_TROUBLE.test(code));
}

/** The driver's error as the rest of the program knows it: `database-down`, `storage` or `internal`. */
export function databaseError(error: unknown, what: string): AppError {
  if (error instanceof AppError) return error;
  const text = `${what}: ${describeError(error)}`;
  if (systemCode(error) === DISK_FULL) {
    return new AppError('storage', 'The database has no disk space left.', { cause: error });
  }
  return isDatabaseDown(error)
    ? new AppError('database-down', text, { cause: error, retryAfterSeconds: 1 })
    : new AppError('internal', text, { cause: error });
}

/**
 * A statement's result, or AppError `database-down` after `ms`. The statement is not cancelled: the
 * driver's cancel opens a connection that nobody awaits, and a commit must never be cut short.
 */
export async function within<T>(
  query: PromiseLike<T>,
  clock: Clock,
  ms: number,
  what: string,
): Promise<T> {
  const over = new AbortController();
  const late = clock.sleep(Math.max(1, ms), over.signal).then(() => {
    if (over.signal.aborted) return undefined as never;
    throw new AppError('database-down', `${what}: no answer from the database in ${ms} ms.`, {
      retryAfterSeconds: 1,
    });
  });
  try {
    return await Promise.race([query, late]);
  } catch (error) {
    throw databaseError(error, what);
  } finally {
    over.abort();
    late.catch(() => undefined);
  }
}

const READ_AGAIN_MS = 20;

/**
 * As within(), for a statement that only reads: one that lost its connection (a pool finds out by using
 * it) runs once more.
 */
export async function reading<T>(
  query: () => PromiseLike<T>,
  clock: Clock,
  ms: number,
  what: string,
): Promise<T> {
  const started = clock.monotonicMs();
  try {
    return await within(query(), clock, ms, what);
  } catch (error) {
    const leftMs = ms - (clock.monotonicMs() - started);
    if (!isDatabaseDown(error) || leftMs <= READ_AGAIN_MS) throw error;
    await clock.sleep(READ_AGAIN_MS);
    return within(query(), clock, leftMs - READ_AGAIN_MS, what);
  }
}

/** A uuid[] parameter as text: needs no type information that a driver would have to fetch first. */
export function uuidArray(ids: readonly string[]): string {
  return `{${ids.join(',')}}`;
}
