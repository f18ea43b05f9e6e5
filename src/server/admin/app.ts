/** The administrators' API behind the Unix socket; its permissions are the right to use it. */
import { Hono } from 'hono';
import { z } from 'zod';
import { type Account, type AccountKind, RIGHTS } from '../../core/accounts.ts';
import { AppError } from '../../core/errors.ts';
import { parseSiteName } from '../../core/ids.ts';
import type { SiteControl } from '../../core/ports.ts';
import type { StatusDocument } from '../../core/status.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { HttpContext, HttpEnv } from '../http-env.ts';
import { answerErrors, type ScopeDeps, scope } from '../http-scope.ts';
import { readJson } from '../json-body.ts';
import { type Handler, route } from '../routing.ts';

export interface SyncResult {
  readonly ok: boolean;
  readonly tookMs: number;
}

export interface AdminDeps extends ScopeDeps {
  readonly accounts: Accounts;
  readonly control: SiteControl;
  readonly status: () => StatusDocument;
  /** Resolves when everything below `path` (null: everything) is at both sites, or says what is not. */
  readonly sync: (path: string | null, signal: AbortSignal) => Promise<SyncResult>;
}

const title = z.string().max(1000).nullish();
const name = z.string().min(1).max(200);
const rights = z.array(z.enum(RIGHTS)).min(1);
const schemas = {
  collection: z.strictObject({ name, title }),
  depositor: z.strictObject({ name, collection: name, password: z.string().min(1).optional() }),
  rights: z.strictObject({ collection: name, rights }),
  password: z.strictObject({ password: z.string().min(1) }),
  admin: z.strictObject({ name }),
  switchover: z.strictObject({ to: z.string().nullish() }),
  drain: z.strictObject({ wait: z.boolean().default(false) }),
  sync: z.strictObject({ path: z.string().max(4096).nullish() }),
  nothing: z.strictObject({}),
};

const answer = (document: unknown, status = 200): Response =>
  Response.json(document, { status, headers: { 'Cache-Control': 'no-store' } });

/** An account as it may be shown: no hash, no token. */
function shown(account: Account) {
  return {
    name: account.name,
    disabled: account.disabled,
    hasPassword: account.passwordHash !== null,
    rights: Object.fromEntries(
      [...account.rights].map(([collection, held]) => [
        collection,
        RIGHTS.filter((right) => held.has(right)),
      ]),
    ),
  };
}

const byName = <T extends { readonly name: string }>(items: Iterable<T>): T[] =>
  [...items].sort((a, b) => (a.name < b.name ? -1 : 1));

const nameOf = (context: HttpContext): string => context.req.param('name') ?? '';

function collectionRoutes(app: Hono<HttpEnv>, deps: AdminDeps): void {
  const { accounts, clock } = deps;
  route(app, '/collections', {
    GET: async () => {
      const { collections } = await accounts.fresh();
      return answer({ items: byName(collections.values()) });
    },
    POST: async (context) => {
      const body = await readJson(context.req.raw, schemas.collection, clock);
      return answer(await accounts.addCollection(body.name, body.title ?? null), 201);
    },
  });
  route(app, '/collections/:name', {
    POST: async (context) => {
      const body = await readJson(context.req.raw, z.strictObject({ title }), clock);
      return answer(await accounts.setCollection(nameOf(context), body.title ?? null));
    },
  });
}

/** What depositors and administrators have in common. */
function accountRoutes(app: Hono<HttpEnv>, deps: AdminDeps, kind: AccountKind, path: string): void {
  const { accounts, clock } = deps;
  const setDisabled =
    (disabled: boolean): Handler =>
    async (context) => {
      await readJson(context.req.raw, schemas.nothing, clock);
      return answer(shown(await accounts.setDisabled(kind, nameOf(context), disabled)));
    };
  route(app, `${path}/:name/disable`, { POST: setDisabled(true) });
  route(app, `${path}/:name/enable`, { POST: setDisabled(false) });
  route(app, `${path}/:name/token`, {
    POST: async (context) => {
      await readJson(context.req.raw, schemas.nothing, clock);
      return answer(await accounts.newToken(kind, nameOf(context)), 201);
    },
  });
}

function depositorRoutes(app: Hono<HttpEnv>, deps: AdminDeps): void {
  const { accounts, clock } = deps;
  route(app, '/depositors', {
    GET: async () => {
      const { depositors } = await accounts.fresh();
      return answer({ items: byName(depositors.values()).map(shown) });
    },
    POST: async (context) => {
      const body = await readJson(context.req.raw, schemas.depositor, clock);
      return answer(await accounts.addDepositor(body.name, body.collection, body.password), 201);
    },
  });
  const setRights =
    (operation: 'grant' | 'revoke'): Handler =>
    async (context) => {
      const body = await readJson(context.req.raw, schemas.rights, clock);
      const account = await accounts[operation](nameOf(context), body.collection, body.rights);
      return answer(shown(account));
    };
  route(app, '/depositors/:name/grant', { POST: setRights('grant') });
  route(app, '/depositors/:name/revoke', { POST: setRights('revoke') });
  route(app, '/depositors/:name/password', {
    POST: async (context) => {
      const body = await readJson(context.req.raw, schemas.password, clock);
      return answer(shown(await accounts.setPassword(nameOf(context), body.password)));
    },
  });
}

function controlRoutes(app: Hono<HttpEnv>, deps: AdminDeps): void {
  const { control, clock } = deps;
  route(app, '/switchover', {
    POST: async (context) => {
      const body = await readJson(context.req.raw, schemas.switchover, clock);
      const to = body.to === undefined || body.to === null ? null : parseSiteName(body.to);
      if (to === null && typeof body.to === 'string') {
        throw new AppError(
          'bad-request',
          `${JSON.stringify(body.to.slice(0, 40))} is no site name.`,
        );
      }
      return answer(await control.switchover(to));
    },
  });
  route(app, '/drain', {
    POST: async (context) => {
      const { wait } = await readJson(context.req.raw, schemas.drain, clock);
      await control.drain(wait);
      return answer({ ok: true });
    },
  });
  route(app, '/resume', {
    POST: async (context) => {
      await readJson(context.req.raw, schemas.nothing, clock);
      await control.resume();
      return answer({ ok: true });
    },
  });
  route(app, '/sync', {
    POST: async (context) => {
      const { path } = await readJson(context.req.raw, schemas.sync, clock);
      return answer(await deps.sync(path ?? null, context.req.raw.signal));
    },
  });
}

/** The app of the admin socket. Serve it with createAdminListener only: it asks for no credentials. */
export function createAdminApp(deps: AdminDeps): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>();
  scope(app, deps);
  route(app, '/status', { GET: () => answer(deps.status()) });
  collectionRoutes(app, deps);
  depositorRoutes(app, deps);
  accountRoutes(app, deps, 'depositor', '/depositors');
  route(app, '/admins', {
    GET: async () => {
      const { admins } = await deps.accounts.fresh();
      return answer({ items: byName(admins.values()).map(shown) });
    },
    POST: async (context) => {
      const body = await readJson(context.req.raw, schemas.admin, deps.clock);
      return answer(await deps.accounts.addAdmin(body.name), 201);
    },
  });
  accountRoutes(app, deps, 'admin', '/admins');
  controlRoutes(app, deps);
  answerErrors(app, deps);
  return app;
}
