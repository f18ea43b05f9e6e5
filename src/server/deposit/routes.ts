/** Deposits over HTTP: taking, receipts, files, lists. */
import type { Hono } from 'hono';
import { type Account, maySee } from '../../core/accounts.ts';
import { compareEvents } from '../../core/deposit.ts';
import { AppError } from '../../core/errors.ts';
import { parseDepositId } from '../../core/ids.ts';
import type { Catalogue, Log, Metrics } from '../../core/ports.ts';
import type { Readiness } from '../../core/readiness.ts';
import { depositHref, type Receipt } from '../../core/receipt.ts';
import type { Guard } from '../auth/guard.ts';
import type { HttpContext, HttpEnv } from '../http-env.ts';
import type { InFlight } from '../in-flight.ts';
import { asAppError } from '../problem.ts';
import { route } from '../routing.ts';
import { drainBody } from './body.ts';
import { answerFile } from './download.ts';
import { parseListQuery } from './list.ts';
import type { Located, Lookup } from './lookup.ts';
import type { Receipts } from './receipts.ts';
import { parseDepositRequest } from './request.ts';
import { takeDeposit } from './take.ts';
import type { TakeDeps, Taken } from './take-deps.ts';

export interface DepositRoutesDeps {
  readonly guard: Guard;
  readonly take: TakeDeps;
  readonly lookup: Lookup;
  readonly receipts: Receipts;
  readonly catalogue: Pick<Catalogue, 'list'>;
  readonly readiness: () => Readiness;
  readonly publicUrl: string | null;
  readonly maxRunningDeposits: number;
  readonly inFlight: InFlight;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The list's receipts are made this many at a time. */
const LIST_PARALLEL = 8;

const header = (context: HttpContext) => (name: string) => context.req.header(name) ?? null;

function notFound(): AppError {
  return new AppError('not-found', 'There is no such deposit that you may see.');
}

function accept(deps: DepositRoutesDeps, context: HttpContext, taken: Taken, startedAt: number) {
  const { located, replay, whyLocal } = taken;
  const receipt = deps.receipts.make(located, taken.sameContentAs);
  const ms = deps.take.clock.monotonicMs() - startedAt;
  const { durability } = receipt;
  if (!replay) {
    deps.metrics.count('deposits_total', 'Deposits taken here, by durability when answered', {
      durability,
    });
  }
  deps.metrics.observe(
    'deposit_seconds',
    'From the request to the answer of a deposit',
    ms / 1000,
    {
      durability,
    },
  );
  deps.log.info(replay ? 'deposit.replayed' : 'deposit.accepted', {
    id: receipt.id,
    collection: receipt.collection,
    depositor: receipt.depositor,
    bytes: receipt.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    durability,
    ms: Math.round(ms * 10) / 10,
    ...(durability === 'local' && whyLocal !== null ? { whyLocal } : {}),
    requestId: context.get('requestId'),
  });
  const id = located.record.deposit.id;
  return Response.json(receipt, {
    status: 201,
    headers: {
      Location: depositHref(id, deps.publicUrl),
      'Cache-Control': 'no-store',
      ...(replay ? { 'Idempotent-Replay': 'true' } : {}),
    },
  });
}

/** Everything that can be refused without the body, in the order that tells strangers least. */
async function admit(deps: DepositRoutesDeps, context: HttpContext) {
  const account = await deps.guard.account(context);
  const collection = await deps.guard.collection(context.req.param('collection') ?? '');
  if (collection === null) throw new AppError('not-found', 'There is no such collection.');
  if (!(await deps.guard.withRight(account, collection, 'deposit'))) {
    throw new AppError('forbidden', `${account.name} has no right to deposit into ${collection}.`);
  }
  const readiness = deps.readiness();
  if (!readiness.ready) {
    throw new AppError(readiness.code, `No deposit is taken now: ${readiness.reason}.`, {
      retryAfterSeconds: 2,
    });
  }
  return parseDepositRequest(
    header(context),
    { collection, depositor: account.name },
    deps.take.maxBodyBytes,
  );
}

function postDeposit(deps: DepositRoutesDeps) {
  let running = 0;
  return async (context: HttpContext): Promise<Response> => {
    const startedAt = deps.take.clock.monotonicMs();
    const leave = deps.inFlight.enter();
    const request = context.req.raw;
    running += 1;
    try {
      if (running > deps.maxRunningDeposits) {
        throw new AppError('not-ready', 'Too many deposits run here at once; try again.', {
          retryAfterSeconds: 1,
        });
      }
      const admitted = await admit(deps, context);
      const taken = await takeDeposit(deps.take, admitted, request.body, request.signal);
      return accept(deps, context, taken, startedAt);
    } catch (thrown) {
      const error = asAppError(thrown);
      deps.metrics.count('deposits_refused_total', 'Deposits that were not taken, by error', {
        code: error.code,
      });
      // Who waits for a go-ahead looks before sending; who declared too much is told at once.
      const looksFirst = context.req.header('Expect') !== undefined || error.code === 'too-large';
      if (!looksFirst) await drainBody(request.body, deps.take.clock);
      throw thrown;
    } finally {
      running -= 1;
      leave();
    }
  };
}

async function visible(
  deps: DepositRoutesDeps,
  context: HttpContext,
): Promise<{ account: Account; located: Located }> {
  const account = await deps.guard.account(context);
  const id = parseDepositId(context.req.param('id') ?? '');
  const located = id === null ? null : await deps.lookup.byId(id);
  if (!located) throw notFound();
  const { deposit } = located.record;
  const own = maySee(account, deposit);
  if (!own && !(await deps.guard.withRight(account, deposit.collection, 'read'))) throw notFound();
  return { account, located };
}

async function listDeposits(deps: DepositRoutesDeps, context: HttpContext): Promise<Response> {
  const account = await deps.guard.account(context);
  const { items, next } = await deps.catalogue.list(parseListQuery(context.req.query(), account));
  const receipts: Receipt[] = [];
  for (let at = 0; at < items.length; at += LIST_PARALLEL) {
    const batch = items.slice(at, at + LIST_PARALLEL);
    receipts.push(
      ...(await Promise.all(batch.map((record) => deps.receipts.of({ record, at: 'here' })))),
    );
  }
  return Response.json({ items: receipts, next }, { headers: { 'Cache-Control': 'no-store' } });
}

async function getFile(deps: DepositRoutesDeps, context: HttpContext): Promise<Response> {
  const leave = deps.inFlight.enter();
  let streaming = false;
  try {
    const { located } = await visible(deps, context);
    const name = context.req.param('name');
    const file = located.record.files.find((candidate) => candidate.name === name);
    if (!file) throw new AppError('not-found', 'This deposit has no file of that name.');
    const answer = await answerFile(
      { bytes: deps.take.bytes, log: deps.log },
      context.req.raw,
      file,
      leave,
    );
    streaming = answer.streaming;
    return answer.response;
  } finally {
    if (!streaming) leave();
  }
}

/** Registers the deposit routes. */
export function depositRoutes(app: Hono<HttpEnv>, deps: DepositRoutesDeps): void {
  const noStore = { headers: { 'Cache-Control': 'no-store' } };
  route(app, '/collections/:collection/deposits', { POST: postDeposit(deps) });
  route(app, '/deposits', { GET: (context) => listDeposits(deps, context) });
  route(app, '/deposits/:id', {
    GET: async (context) => {
      const { located } = await visible(deps, context);
      return Response.json(await deps.receipts.of(located), noStore);
    },
  });
  route(app, '/deposits/:id/files', {
    GET: async (context) => {
      const { located } = await visible(deps, context);
      const { files } = await deps.receipts.of(located);
      return Response.json({ items: files, next: null }, noStore);
    },
  });
  route(app, '/deposits/:id/events', {
    GET: async (context) => {
      const { located } = await visible(deps, context);
      const items = [...located.record.events]
        .sort(compareEvents)
        .map(({ id, kind, at, site, body }) => ({ id, kind, at, site, body }));
      return Response.json({ items, next: null }, noStore);
    },
  });
  route(app, '/deposits/:id/files/:name', { GET: (context) => getFile(deps, context) });
}
