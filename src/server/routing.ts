/** Routes that know all of their methods, so that a wrong one is 405 with Allow and never 404. */
import type { Hono } from 'hono';
import type { HttpContext, HttpEnv } from './http-env.ts';
import { HttpError } from './problem.ts';

export type Handler = (context: HttpContext) => Response | Promise<Response>;
export type Method = 'GET' | 'PUT' | 'POST' | 'DELETE' | 'PATCH';

/** Registers all methods of one path; HEAD comes with GET. */
export function route(
  app: Hono<HttpEnv>,
  path: string,
  methods: Partial<Record<Method, Handler>>,
): void {
  const allowed: string[] = [];
  for (const [method, handler] of Object.entries(methods)) {
    allowed.push(method, ...(method === 'GET' ? ['HEAD'] : []));
    app.on(method, path, handler);
  }
  const allow = [...allowed, 'OPTIONS'].join(', ');
  app.all(path, (context) => {
    if (context.req.method === 'OPTIONS') {
      return new Response(null, { status: 204, headers: { Allow: allow } });
    }
    throw new HttpError('method-not-allowed', `${context.req.method} is not possible here.`, {
      headers: [['Allow', allow]],
    });
  });
}
