/**
 * One error type for everything that can be told to a person: a code from the table, a sentence that
 * says what happened, and what to do. Pure decisions return values instead of throwing.
 */
import { ERROR_CODES, type ErrorCode } from './error-codes.ts';

/** transient: trying again may help · permanent: it will not · fatal: this process must stop. */
export type ErrorKind = 'transient' | 'permanent' | 'fatal';

export interface AppErrorOptions {
  readonly cause?: unknown;
  /** Overrides the table's kind. */
  readonly kind?: ErrorKind;
  /** Seconds a client should wait; becomes `Retry-After`. */
  readonly retryAfterSeconds?: number;
}

export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, detail: string, options: AppErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.kind = options.kind ?? ERROR_CODES[code].kind;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Whatever was thrown, as one line for a log or a message. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  const prefix =
    typeof code === 'string' && !error.message.includes(code) && !(error instanceof AppError)
      ? `${code}: `
      : '';
  const cause = error.cause === undefined ? '' : ` (${describeError(error.cause)})`;
  return `${prefix}${error.message}${cause}`.replaceAll('\n', ' ');
}

/** The `code` of a system or driver error (`ENOSPC`, `23505`), or null. */
export function systemCode(error: unknown): string | null {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : null;
}
