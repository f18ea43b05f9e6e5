/**
 * Journals between the sites. Each side pushes what it wrote as it is written, and asks for what it
 * has not; a side that has no place in the other's journal gets a listing of everything instead.
 */
import { AppError, describeError } from '../../../core/errors.ts';
import type { PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import { createKeyedLock } from '../deposits/keyed-lock.ts';
import { createWaker } from '../deposits/waker.ts';
import type { FilesContext } from '../scan/context.ts';
import {
  answerChanges,
  answerHint,
  journalAfter,
  parseMessage,
  type Replicating,
  recordFrom,
} from './answers.ts';
import { GET_PURPOSE, serveContents } from './contents-server.ts';
import { recordRemote } from './record-remote.ts';
import { ackedSeq, type PeerState, pendingTold, standing, takeStanding } from './standing.ts';
import {
  CHANGES_ANSWER,
  CHANGES_METHOD,
  type ChangesAnswer,
  HINT_ANSWER,
  HINT_METHOD,
} from './wire.ts';

export interface Replication {
  readonly services: readonly Service[];
  /** Asks the peer soon. */
  pullSoon(): void;
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
  const shared: Replicating = { context, link, peer, pull, recording: createKeyedLock() };
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

// ---------------------------------------------------------------- asking

async function pullLoop(
  shared: Replicating,
  signal: AbortSignal,
  ready: () => void,
): Promise<void> {
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
async function pullOnce(shared: Replicating, signal: AbortSignal): Promise<boolean> {
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
  shared: Replicating,
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
  shared: Replicating,
  after: string | null,
  signal: AbortSignal,
): Promise<ChangesAnswer | null> {
  const context = shared.context();
  const body = { me: standing(context), after };
  const answer = parseMessage<ChangesAnswer>(
    CHANGES_ANSWER,
    await shared.link.request(CHANGES_METHOD, body, { signal, timeoutMs: REQUEST_TIMEOUT_MS }),
  );
  return takeStanding(context, shared.peer, answer.me) ? answer : null;
}

async function pushLoop(
  shared: Replicating,
  signal: AbortSignal,
  ready: () => void,
): Promise<void> {
  ready();
  let toldPending = 0;
  let toldScanned = false;
  while (!signal.aborted) {
    const context = shared.context();
    const { index } = context;
    await index.flushed();
    const since = ackedSeq(context);
    const pending = pendingTold(context);
    const { scanned } = context.figures;
    // Nothing new in the journal, but a reason to compare: all is applied, or all is looked at.
    const finished = (toldPending > 0 && pending === 0) || (scanned && !toldScanned);
    if (shared.peer.last === null || (index.durableSeq <= since && !finished)) {
      toldPending = Math.max(toldPending, pending);
      await context.journalGrew.wait(shared.peer.last === null ? PUSH_RETRY_MS : POLL_MS, signal);
      continue;
    }
    try {
      toldPending = pending;
      toldScanned = scanned;
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

async function push(shared: Replicating, since: number, signal: AbortSignal): Promise<void> {
  const context = shared.context();
  const few = context.index.durableSeq - since <= PUSH_LIMIT;
  // A long tail is left to the peer to ask for, in larger pieces: this only tells that it is there.
  const { me, entries, copies, upTo } = few
    ? journalAfter(context, since, PUSH_LIMIT)
    : { me: standing(context), entries: [], copies: [], upTo: since };
  const answer = parseMessage<{ me: ChangesAnswer['me'] }>(
    HINT_ANSWER,
    await shared.link.request(
      HINT_METHOD,
      { me, entries, copies, since, upTo },
      { signal, timeoutMs: REQUEST_TIMEOUT_MS },
    ),
  );
  takeStanding(context, shared.peer, answer.me);
}
