/** Errors as RFC 9457 problem documents; the one place where an error becomes an answer. */
import { ERROR_CODES, type ErrorCode } from '../core/error-codes.ts';
import { AppError, type AppErrorOptions } from '../core/errors.ts';

export interface HttpErrorOptions extends AppErrorOptions {
  /** Overrides the table's status. */
  readonly status?: number;
  readonly headers?: readonly (readonly [string, string])[];
}

/** An AppError that needs a status or headers of its own. */
export class HttpError extends AppError {
  readonly status: number | undefined;
  readonly headers: readonly (readonly [string, string])[];

  constructor(code: ErrorCode, detail: string, options: HttpErrorOptions = {}) {
    super(code, detail, options);
    this.status = options.status;
    this.headers = options.headers ?? [];
  }
}

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly requestId: string;
}

/** Seconds a client should wait when the error itself does not say. */
const DEFAULT_RETRY_SECONDS = 2;

/** What anything thrown means to a client: foreign errors are `internal` and tell no details. */
export function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  return new AppError('internal', 'The request failed here; the log has it under this requestId.', {
    cause: error,
  });
}

/** The status that an error is answered with. */
export function statusOf(error: AppError): number {
  return (error instanceof HttpError ? error.status : undefined) ?? ERROR_CODES[error.code].status;
}

/** The answer to an error, as problem+json with `Retry-After` where waiting helps. */
export function problemResponse(thrown: unknown, requestId: string): Response {
  const error = asAppError(thrown);
  const status = statusOf(error);
  const problem: Problem = {
    type: `urn:twinsite:problem:${error.code}`,
    title: ERROR_CODES[error.code].title,
    status,
    code: error.code,
    detail: error.message,
    requestId,
  };
  const headers = new Headers({
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
  });
  const retryAfter =
    error.retryAfterSeconds ?? (status === 503 || status === 409 ? DEFAULT_RETRY_SECONDS : null);
  if (retryAfter !== null && error.code !== 'conflict') {
    headers.set('Retry-After', String(Math.max(1, Math.ceil(retryAfter))));
  }
  // The rest of a body that nobody reads would be taken for the next request.
  if (error.code === 'body-incomplete' || error.code === 'too-large') {
    headers.set('Connection', 'close');
  }
  if (error instanceof HttpError) {
    for (const [name, value] of error.headers) headers.append(name, value);
  }
  return new Response(JSON.stringify(problem), { status, headers });
}
