/**
 * Journals between the sites. Each side pushes what it wrote as it is written, and asks for what it
 * has not; a side that has no place in the other's journal gets a listing of everything instead.
 */
import { AppError, describeError } from '../../../core/errors.ts';
import type { PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import { checkTreePath, ROOT } from '../../../core/tree-path.ts';
import { createKeyedLock, type KeyedLock } from '../deposits/keyed-lock.ts';
import { createWaker, type Waker } from '../deposits/waker.ts';
import type { FilesContext } from '../scan/context.ts';
import { GET_PURPOSE, serveContents } from './contents-server.ts';
import { recordRemote } from './record-remote.ts';
import { ackedSeq, type PeerState, standing, takeStanding } from './standing.ts';
import {
  type Batch,
  CHANGES_ANSWER,
  CHANGES_METHOD,
  CHANGES_REQUEST,
  type ChangesAnswer,
  HINT_ANSWER,
  HINT_METHOD,
  HINT_REQUEST,
  MAX_PAGE,
  toBatch,
} from './wire.ts';

export interface Replication {
  readonly services: readonly Service[];
  /** Asks the peer soon. */
  pullSoon(): void;
}

interface Shared {
  readonly context: () => FilesContext;
  readonly link: PeerLink;
  readonly peer: PeerState;
  readonly pull: Waker;
  /** One batch is recorded at a time, each from where the last one ended: nothing older overtakes. */
  readonly recording: KeyedLock;
}

const REQUEST_TIMEOUT_MS = 10_000;
/** Word from the peer comes by itself; asking is for what was missed. */
const POLL_MS = 1_000;
const MAX_POLL_MS = 5_000;
const PUSH_LIMIT = 200;
const PUSH_RETRY_MS = 500;

export function createReplication(
  context: () => FilesContext,
  link: PeerLink,
  peer: PeerState,
  clock: FilesContext['clock'],
): Replication {
  const pull = createWaker(clock);
  const shared: Shared = { context, link, peer, pull, recording: createKeyedLock() };
  link.serve(GET_PURPOSE, async (exchange) => {
    try {
      await serveContents(context(), exchange);
    } catch (error) {
      context().log.debug('files.serve-failed', { error: describeError(error) });
      exchange.abort(describeError(error));
    }
  });
  link.answer(CHANGES_METHOD, (body, signal) => answerChanges(shared, body, signal));
  link.answer(HINT_METHOD, (body, signal) => answerHint(shared, body, signal));
  return {
    services: [
      { name: 'files-pull', run: ({ signal, ready }) => pullLoop(shared, signal, ready) },
      { name: 'files-push', run: ({ signal, ready }) => pushLoop(shared, signal, ready) },
    ],
    pullSoon: () => shared.pull.wake(),
  };
}

function parse<T>(
  schema: { safeParse(body: unknown): { success: boolean; data?: T } },
  body: unknown,
): T {
  const parsed = schema.safeParse(body);
  if (!parsed.success || parsed.data === undefined) {
    throw new AppError(
      'bad-request',
      'a malformed message about files; run one version at both sites',
    );
  }
  return parsed.data;
}

// ---------------------------------------------------------------- answering

async function answerChanges(shared: Shared, body: unknown, signal: AbortSignal): Promise<unknown> {
  const context = shared.context();
  const asked = parse(CHANGES_REQUEST, body);
  const may = takeStanding(context, shared.peer, asked.me);
  await context.index.flushed();
  if (!may) return nothing(context);
  if (asked.me.seq > context.index.meta.number('peer_seq')) shared.pull.wake();
  const { recorded } = asked.me;
  if (asked.after === null && recorded?.incarnation === context.index.incarnation) {
    return journalAfter(context, recorded.seq, MAX_PAGE);
  }
  return listing(context, asked.after, signal);
}

function nothing(context: FilesContext): ChangesAnswer {
  return { me: standing(context), mode: 'journal', entries: [], copies: [], upTo: 0, next: null };
}

/** The journal after `since`, entries and conflict copies merged by number. */
function journalAfter(context: FilesContext, since: number, limit: number): ChangesAnswer {
  const { index } = context;
  const rows = index.journal(since, limit);
  const kept = index.kept.journal(since, index.durableSeq, limit);
  const seqs = [...rows, ...kept].map((row) => row.seq).sort((a, b) => a - b);
  const upTo = seqs.length >= limit ? (seqs[limit - 1] ?? since) : index.durableSeq;
  return {
    me: standing(context),
    mode: 'journal',
    ...toBatch(
      rows.filter((row) => row.seq <= upTo),
      kept.filter((row) => row.seq <= upTo),
    ),
    upTo: Math.max(since, upTo),
    next: null,
  };
}

async function listing(
  context: FilesContext,
  after: string | null,
  signal: AbortSignal,
): Promise<ChangesAnswer> {
  const { index } = context;
  const upTo = index.durableSeq;
  const from = after === null ? ROOT : checkTreePath(Buffer.from(after, 'base64'));
  if (from === null) throw new AppError('bad-request', 'a listing cannot go on after that path');
  const rows = index.page(from, MAX_PAGE);
  // Rows read just now may be younger than the last flush.
  await index.flushed();
  if (signal.aborted) throw new AppError('peer-unreachable', 'stopping');
  const last = rows.at(-1)?.entry.path;
  const kept = after === null ? index.kept.conflictPage(MAX_PAGE) : [];
  return {
    me: standing(context),
    mode: 'listing',
    ...toBatch(rows, kept),
    upTo,
    next:
      rows.length < MAX_PAGE || last === undefined
        ? null
        : Buffer.from(last, 'latin1').toString('base64'),
  };
}

async function answerHint(shared: Shared, body: unknown, signal: AbortSignal): Promise<unknown> {
  const context = shared.context();
  const { index } = context;
  const hint = parse(HINT_REQUEST, body);
  if (takeStanding(context, shared.peer, hint.me)) {
    const { incarnation } = hint.me;
    await recordFrom(shared, incarnation, hint.since, hint.upTo, hint, signal);
    if (hint.me.seq > index.meta.number('peer_seq')) shared.pull.wake();
  }
  return { me: standing(context) };
}

/**
 * Records a piece of the peer's journal if it begins exactly where the record ends. Durable when it
 * resolves; false when it does not fit and has to be asked for again.
 */
async function recordFrom(
  shared: Shared,
  incarnation: string,
  since: number,
  upTo: number,
  batch: Batch,
  signal: AbortSignal,
): Promise<boolean> {
  const context = shared.context();
  const { index } = context;
  return shared.recording.run('journal', async () => {
    if (index.meta.get('peer_incarnation') !== incarnation) return false;
    if (index.meta.number('peer_seq') !== since) return false;
    await recordRemote(context, batch, signal);
    if (upTo > since) index.write(() => index.meta.set('peer_seq', String(upTo)));
    await index.flushed();
    return true;
  });
}

// ---------------------------------------------------------------- asking

async function pullLoop(shared: Shared, signal: AbortSignal, ready: () => void): Promise<void> {
  let waitMs = POLL_MS;
  let lastError = '';
  while (!signal.aborted) {
    try {
      const more = await pullOnce(shared, signal);
      ready();
      waitMs = POLL_MS;
      lastError = '';
      if (more) continue;
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === 'fatal') throw error;
      waitMs = Math.min(MAX_POLL_MS, waitMs * 1.5);
      const text = describeError(error);
      if (text !== lastError) shared.context().log.debug('files.pull-failed', { error: text });
      lastError = text;
    }
    await shared.pull.wait(waitMs, signal);
  }
}

/** True when there is more to ask for at once. */
async function pullOnce(shared: Shared, signal: AbortSignal): Promise<boolean> {
  const { index } = shared.context();
  const since = index.meta.number('peer_seq');
  const first = await ask(shared, null, signal);
  if (first === null) return false;
  const { incarnation } = first.me;
  if (first.mode === 'journal') {
    const fits = await recordFrom(shared, incarnation, since, first.upTo, first, signal);
    return !fits || first.me.seq > first.upTo;
  }
  const context = shared.context();
  return shared.recording.run('journal', async () => {
    context.figures.listing = true;
    try {
      await recordRemote(context, first, signal);
      if (!(await listRest(shared, first, signal))) return false;
    } finally {
      context.figures.listing = false;
    }
    index.write(() => {
      index.meta.set('peer_incarnation', incarnation);
      index.meta.set('peer_seq', String(first.upTo));
    });
    await index.flushed();
    context.log.info('files.listed', { incarnation, upTo: first.upTo });
    return true;
  });
}

/** The pages of a listing after the first; false when the peer became another one meanwhile. */
async function listRest(
  shared: Shared,
  first: ChangesAnswer,
  signal: AbortSignal,
): Promise<boolean> {
  for (let next = first.next; next !== null; ) {
    if (signal.aborted) return false;
    const page = await ask(shared, next, signal);
    if (page === null || page.me.incarnation !== first.me.incarnation) return false;
    await recordRemote(shared.context(), page, signal);
    next = page.next;
  }
  return true;
}

/** Null when nothing may be exchanged with this peer. */
async function ask(
  shared: Shared,
  after: string | null,
  signal: AbortSignal,
): Promise<ChangesAnswer | null> {
  const context = shared.context();
  const body = { me: standing(context), after };
  const answer = parse<ChangesAnswer>(
    CHANGES_ANSWER,
    await shared.link.request(CHANGES_METHOD, body, { signal, timeoutMs: REQUEST_TIMEOUT_MS }),
  );
  return takeStanding(context, shared.peer, answer.me) ? answer : null;
}

async function pushLoop(shared: Shared, signal: AbortSignal, ready: () => void): Promise<void> {
  ready();
  let toldPending = 0;
  while (!signal.aborted) {
    const context = shared.context();
    const { index } = context;
    await index.flushed();
    const since = ackedSeq(context);
    const pending = index.need.open();
    const finished = toldPending > 0 && pending === 0;
    if (shared.peer.last === null || (index.durableSeq <= since && !finished)) {
      toldPending = Math.max(toldPending, pending);
      await context.journalGrew.wait(shared.peer.last === null ? PUSH_RETRY_MS : POLL_MS, signal);
      continue;
    }
    try {
      toldPending = pending;
      await push(shared, since, signal);
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === 'fatal') throw error;
      await context.clock.sleep(PUSH_RETRY_MS, signal);
      continue;
    }
    // Not recorded: the peer asks by itself, from where it stands.
    if (ackedSeq(context) <= since && !finished) await context.clock.sleep(PUSH_RETRY_MS, signal);
  }
}

async function push(shared: Shared, since: number, signal: AbortSignal): Promise<void> {
  const context = shared.context();
  const few = context.index.durableSeq - since <= PUSH_LIMIT;
  // A long tail is left to the peer to ask for, in larger pieces: this only tells that it is there.
  const { me, entries, copies, upTo } = few
    ? journalAfter(context, since, PUSH_LIMIT)
    : { me: standing(context), entries: [], copies: [], upTo: since };
  const answer = parse<{ me: ChangesAnswer['me'] }>(
    HINT_ANSWER,
    await shared.link.request(
      HINT_METHOD,
      { me, entries, copies, since, upTo },
      { signal, timeoutMs: REQUEST_TIMEOUT_MS },
    ),
  );
  takeStanding(context, shared.peer, answer.me);
}
