/** Collections over HTTP: what a depositor may use, and what an administrator makes. */
import type { Hono } from 'hono';
import { z } from 'zod';
import {
  type Account,
  type Collection,
  hasRight,
  RIGHTS,
  type Right,
} from '../../core/accounts.ts';
import { AppError } from '../../core/errors.ts';
import type { AccountName } from '../../core/ids.ts';
import type { Clock } from '../../core/ports.ts';
import type { Guard } from '../auth/guard.ts';
import type { HttpContext, HttpEnv } from '../http-env.ts';
import { readJson } from '../json-body.ts';
import { route } from '../routing.ts';
import type { Accounts } from './accounts.ts';

export interface CollectionRoutesDeps {
  readonly guard: Guard;
  readonly accounts: Accounts;
  readonly clock: Clock;
}

const putSchema = z.strictObject({ title: z.string().max(1000).nullish() });

function rightsOf(account: Account, collection: AccountName): Right[] {
  return RIGHTS.filter((right) => hasRight(account, collection, right));
}

function asDocument(account: Account, collection: Collection) {
  return { ...collection, rights: rightsOf(account, collection.name) };
}

async function getCollection(deps: CollectionRoutesDeps, context: HttpContext): Promise<Response> {
  const account = await deps.guard.account(context);
  const name = await deps.guard.collection(context.req.param('collection') ?? '');
  const state = await deps.accounts.current();
  const collection = name === null ? undefined : state.collections.get(name);
  const now =
    (account.kind === 'admin' ? state.admins : state.depositors).get(account.name) ?? account;
  if (!collection || rightsOf(now, collection.name).length === 0) {
    throw new AppError('not-found', 'There is no such collection that you may use.');
  }
  return Response.json(asDocument(now, collection));
}

async function putCollection(deps: CollectionRoutesDeps, context: HttpContext): Promise<Response> {
  const admin = await deps.guard.admin(context);
  const body = await readJson(context.req.raw, putSchema, deps.clock);
  const { collection, created } = await deps.accounts.putCollection(
    context.req.param('collection') ?? '',
    body.title,
  );
  return Response.json(asDocument(admin, collection), {
    status: created ? 201 : 200,
    headers: { Location: `/collections/${collection.name}` },
  });
}

/** Registers the collection routes. */
export function collectionRoutes(app: Hono<HttpEnv>, deps: CollectionRoutesDeps): void {
  route(app, '/collections', {
    GET: async (context) => {
      const account = await deps.guard.account(context);
      const { collections } = await deps.accounts.current();
      const items = [...collections.values()]
        .map((collection) => asDocument(account, collection))
        .filter((collection) => collection.rights.length > 0)
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      return Response.json({ items, next: null });
    },
  });
  route(app, '/collections/:collection', {
    GET: (context) => getCollection(deps, context),
    PUT: (context) => putCollection(deps, context),
  });
}
