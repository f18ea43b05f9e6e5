import { AppError } from '../../../core/errors.ts';

/** The result, or null while the database is down: that is waited for, not a failure of the caller. */
export async function unlessDatabaseDown<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError && error.code === 'database-down') return null;
    throw error;
  }
}
