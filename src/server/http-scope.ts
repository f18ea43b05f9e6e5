/** What surrounds every request: its id, its count, its log line, and errors as problem documents. */
import type { Hono } from 'hono';
import { routePath } from 'hono/route';
import { AppError, describeError } from '../core/errors.ts';
import type { Clock, Log, Metrics } from '../core/ports.ts';
import type { HttpContext, HttpEnv } from './http-env.ts';
import { asAppError, problemResponse, statusOf } from './problem.ts';

export interface ScopeDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random: (bytes: number) => Uint8Array;
}

/** A proxy's id is kept when it is harmless in a log, so that one request has one id everywhere. */
function requestIdOf(given: string | undefined, random: ScopeDeps['random']): string {
  return given !== undefined && /^[A-Za-z0-9._-]{8,64}$/.test(given)
    ? given
    : Buffer.from(random(12)).toString('hex');
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']);

function account(deps: ScopeDeps, context: HttpContext, status: number, startedAt: number): void {
  const method = METHODS.has(context.req.method) ? context.req.method : 'OTHER';
  const path = routePath(context, -1);
  deps.metrics.count('http_requests_total', 'Requests answered', {
    method,
    route: path === '/*' || path === '*' ? 'other' : path,
    status: String(status),
  });
  deps.log.debug('http.request', {
    method,
    path: context.req.path,
    status,
    ms: Math.round((deps.clock.monotonicMs() - startedAt) * 10) / 10,
    requestId: context.get('requestId'),
  });
}

/** Call before any route is registered. */
export function scope(app: Hono<HttpEnv>, deps: ScopeDeps): void {
  app.use(async (context, next) => {
    const startedAt = deps.clock.monotonicMs();
    const requestId = requestIdOf(context.req.header('X-Request-Id'), deps.random);
    context.set('requestId', requestId);
    await next();
    context.res.headers.set('X-Request-Id', requestId);
    account(deps, context, context.res.status, startedAt);
  });
}

function logFailure(deps: ScopeDeps, context: HttpContext, thrown: unknown): void {
  const error = asAppError(thrown);
  const status = statusOf(error);
  if (status < 400 || error.code === 'unauthorized') return;
  const level = error.code === 'internal' ? 'error' : status >= 500 ? 'warn' : 'info';
  deps.log[level](status >= 500 ? 'request.failed' : 'request.refused', {
    code: error.code,
    method: context.req.method,
    path: context.req.path,
    error: describeError(error),
    requestId: context.get('requestId'),
  });
}

/** Call after all routes are registered. */
export function answerErrors(app: Hono<HttpEnv>, deps: ScopeDeps): void {
  app.onError((error, context) => {
    logFailure(deps, context, error);
    return problemResponse(error, context.get('requestId'));
  });
  app.notFound((context) =>
    problemResponse(
      new AppError('not-found', 'There is nothing at this address.'),
      context.get('requestId'),
    ),
  );
}
