/** Health and operations pages, on the public listener and on one of their own. */
import { Hono } from 'hono';
import type { SiteView } from '../../core/ports.ts';
import type { Readiness } from '../../core/readiness.ts';
import type { StatusDocument } from '../../core/status.ts';
import type { MetricsRegistry } from '../../platform/metrics.ts';
import type { HttpContext, HttpEnv } from '../http-env.ts';
import { answerErrors, type ScopeDeps, scope } from '../http-scope.ts';
import { route } from '../routing.ts';
import { refreshGauges } from './metrics.ts';

export interface OpsDeps {
  readonly view: () => SiteView;
  readonly readiness: () => Readiness;
  readonly status: () => StatusDocument;
  readonly metrics: MetricsRegistry;
}

const NO_STORE = { 'Cache-Control': 'no-store' } as const;

/** `allow` throws when the request may not see operations pages. */
export function opsRoutes(
  app: Hono<HttpEnv>,
  deps: OpsDeps,
  allow: (context: HttpContext) => Promise<void>,
): void {
  route(app, '/livez', {
    GET: () => new Response('ok\n', { headers: { ...NO_STORE, 'Content-Type': 'text/plain' } }),
  });
  const health = (ready: (readiness: Readiness) => boolean) => () => {
    const readiness = deps.readiness();
    const ok = ready(readiness);
    return Response.json(
      { ready: ok, state: deps.view().state, mode: readiness.durability },
      { status: ok ? 200 : 503, headers: { ...NO_STORE, ...(ok ? {} : { 'Retry-After': '1' }) } },
    );
  };
  route(app, '/readyz', { GET: health((readiness) => readiness.ready) });
  route(app, '/readyz/read', { GET: health((readiness) => readiness.readyRead) });
  route(app, '/status', {
    GET: async (context) => {
      await allow(context);
      return Response.json(deps.status(), { headers: NO_STORE });
    },
  });
  route(app, '/metrics', {
    GET: async (context) => {
      await allow(context);
      refreshGauges(deps.metrics, deps.status());
      return new Response(await deps.metrics.text(), {
        headers: { ...NO_STORE, 'Content-Type': deps.metrics.contentType },
      });
    },
  });
}

/** The operations pages alone, without credentials: for `--ops-listen`. */
export function createOpsApp(deps: OpsDeps & ScopeDeps): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>();
  scope(app, deps);
  opsRoutes(app, deps, () => Promise.resolve());
  answerErrors(app, deps);
  return app;
}
