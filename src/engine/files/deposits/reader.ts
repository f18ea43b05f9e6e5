/** Reading a deposit's file: from here, else from the peer; never a byte that was not verified. */
import { CHUNK_BYTES, type DepositFileRow } from '../../../core/deposit.ts';
import { AppError, describeError } from '../../../core/errors.ts';
import { SLICE_BYTES } from '../../../platform/hashing.ts';
import type { DepositContext } from './context.ts';
import { createSemaphore, type Semaphore } from './keyed-lock.ts';
import { type LocalFile, openLocal } from './local-chunks.ts';
import { chunkLength, wholeChunks } from './peer-get.ts';
import { requireOwnPath } from './publisher.ts';

/** Readers that hold a chunk from the peer in memory at the same time. */
const MAX_REMOTE_READERS = 8;
/** How long a reader waits for its turn at the peer. */
const TURN_MS = 10_000;
const RETRY_AFTER_SECONDS = 10;

export interface Reader {
  read(
    file: DepositFileRow,
    range: { readonly start: number; readonly end: number } | null,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>>;
}

interface Parts {
  readonly context: DepositContext;
  /** The local copy is missing or damaged. */
  readonly heal: (file: DepositFileRow) => void;
}

function unavailable(context: DepositContext, file: DepositFileRow, here: string, there: string) {
  const peer = context.link ? `site ${context.link.peerSite}: ${there}` : 'there is no other site';
  return new AppError(
    'content-unavailable',
    `No right copy of ${file.path} can be reached. This site: ${here}; ${peer}.`,
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}

interface Session {
  readonly parts: Parts;
  readonly file: DepositFileRow;
  /** Exclusive. */
  readonly end: number;
  readonly remote: Semaphore;
  readonly signal: AbortSignal;
  here: string;
  there: string;
  local: LocalFile | null;
  remoteChunks: AsyncGenerator<Uint8Array> | null;
  release: (() => void) | null;
}

/** From this store; returns how far it came. */
async function* fromHere(
  session: Session,
  chunk: number,
  from: number,
  to: number,
): AsyncGenerator<Uint8Array, number> {
  const { file, parts } = session;
  if (!session.local) return from;
  const reached = yield* session.local.chunk(chunk, from, to);
  if (reached >= to) return reached;
  session.here = `chunk ${chunk} is damaged`;
  const where = { where: 'local' };
  parts.context.metrics.count('deposit_chunks_bad_total', 'Chunks whose bytes were wrong', where);
  parts.context.log.warn('deposit.chunk-damaged', { path: file.path, chunk });
  parts.heal(file);
  return reached;
}

/** From the peer, which goes on with the following chunks; returns how far it came. */
async function* fromThere(
  session: Session,
  chunk: number,
  from: number,
  to: number,
): AsyncGenerator<Uint8Array, number> {
  const { parts, file, signal } = session;
  try {
    if (!session.remoteChunks) {
      const turn = AbortSignal.any([signal, AbortSignal.timeout(TURN_MS)]);
      session.release ??= await session.remote.acquire(turn);
      if (!session.release) throw new AppError('peer-timeout', 'too many read from there now');
      const last = Math.ceil(session.end / CHUNK_BYTES) - 1;
      session.remoteChunks = wholeChunks(parts.context, file, chunk, last, signal);
    }
    const next = await session.remoteChunks.next();
    if (next.done) throw new AppError('peer-unreachable', 'ended early');
    const start = chunk * CHUNK_BYTES;
    const wanted = next.value.subarray(from - start, to - start);
    for (let offset = 0; offset < wanted.length; offset += SLICE_BYTES)
      yield wanted.subarray(offset, offset + SLICE_BYTES);
    return to;
  } catch (error) {
    session.there = describeError(error);
    session.remoteChunks = null;
    return from;
  }
}

async function* deliver(session: Session, start: number): AsyncGenerator<Uint8Array> {
  const { file, end } = session;
  try {
    for (let position = start; position < end; ) {
      session.signal.throwIfAborted();
      session.parts.context.garbage.passed(end - start > CHUNK_BYTES ? CHUNK_BYTES : 0);
      const chunk = Math.floor(position / CHUNK_BYTES);
      const to = Math.min(end, chunk * CHUNK_BYTES + chunkLength(file, chunk));
      // A peer stream that runs is used on: the local file is known to be damaged.
      if (!session.remoteChunks) position = yield* fromHere(session, chunk, position, to);
      if (position < to) position = yield* fromThere(session, chunk, position, to);
      // The peer failed in mid-stream: this chunk may be right here.
      if (position < to && session.local) position = yield* fromHere(session, chunk, position, to);
      if (position < to)
        throw unavailable(session.parts.context, file, session.here, session.there);
    }
  } finally {
    await session.remoteChunks?.return(undefined);
    session.release?.();
    await session.local?.close();
  }
}

/** Fetches the first piece, so that what is not there is said before the first byte. */
async function withFirst(
  source: AsyncGenerator<Uint8Array>,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const first = await source.next();
  async function* all() {
    try {
      if (first.done) return;
      yield first.value;
      yield* source;
    } finally {
      signal.removeEventListener('abort', stop);
      await source.return(undefined);
    }
  }
  // Nobody may ever read on: the handle is closed with the request. A piece that is being read
  // now is finished first.
  const stop = () => {
    source.return(undefined).catch(() => undefined);
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return all();
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

export function createReader(parts: Parts): Reader {
  const remote = createSemaphore(MAX_REMOTE_READERS);
  return {
    async read(file, range, signal) {
      requireOwnPath(file);
      const start = range?.start ?? 0;
      const end = Math.min(file.sizeBytes, (range?.end ?? file.sizeBytes - 1) + 1);
      if (start < 0 || (range && (start >= file.sizeBytes || start >= end)))
        throw new AppError('range-not-satisfiable', `The file has ${file.sizeBytes} bytes.`);
      if (start >= end) return nothing();
      const opened = await openLocal(parts.context, file);
      if (typeof opened === 'string') parts.heal(file);
      const session: Session = {
        parts,
        file,
        end,
        remote,
        signal,
        here: typeof opened === 'string' ? opened : 'damaged',
        there: 'not asked',
        local: typeof opened === 'string' ? null : opened,
        remoteChunks: null,
        release: null,
      };
      return await withFirst(deliver(session, start), signal);
    },
  };
}
