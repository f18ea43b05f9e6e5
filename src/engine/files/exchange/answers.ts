/** What the peer asks of this site's journal, and the record of what it tells. */
import { AppError } from '../../../core/errors.ts';
import type { PeerLink } from '../../../core/ports.ts';
import { checkTreePath, ROOT } from '../../../core/tree-path.ts';
import type { KeyedLock } from '../deposits/keyed-lock.ts';
import type { Waker } from '../deposits/waker.ts';
import type { FilesContext } from '../scan/context.ts';
import { recordRemote } from './record-remote.ts';
import { type PeerState, standing, takeStanding } from './standing.ts';
import {
  type Batch,
  CHANGES_REQUEST,
  type ChangesAnswer,
  HINT_REQUEST,
  MAX_PAGE,
  toBatch,
} from './wire.ts';

/** What asking and answering share. */
export interface Replicating {
  readonly context: () => FilesContext;
  readonly link: PeerLink;
  readonly peer: PeerState;
  readonly pull: Waker;
  /** One batch is recorded at a time, each from where the last one ended: nothing older overtakes. */
  readonly recording: KeyedLock;
}

/** Throws AppError `bad-request`. */
export function parseMessage<T>(
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

/** The journal from where the peer stands in it, or a listing of everything. */
export async function answerChanges(
  shared: Replicating,
  body: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const context = shared.context();
  const asked = parseMessage(CHANGES_REQUEST, body);
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
export function journalAfter(context: FilesContext, since: number, limit: number): ChangesAnswer {
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

/** Records what the peer pushed, if it continues the record; durable when it is answered. */
export async function answerHint(
  shared: Replicating,
  body: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const context = shared.context();
  const { index } = context;
  const hint = parseMessage(HINT_REQUEST, body);
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
export async function recordFrom(
  shared: Replicating,
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
