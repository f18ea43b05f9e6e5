/** Chunks of a file from the peer, each verified before anybody sees it. */
import { CHUNK_BYTES, type DepositFileRow } from '../../../core/deposit.ts';
import { AppError } from '../../../core/errors.ts';
import { createSha256, sha256Hex } from '../../../platform/hashing.ts';
import type { DepositContext } from './context.ts';
import { GET_ANSWER, parseFromPeer, receive, refusalError } from './wire.ts';

/** The peer may move nothing for this long while we wait for its bytes. */
const IDLE_MS = 10_000;

export function chunkCount(file: Pick<DepositFileRow, 'sizeBytes'>): number {
  return Math.ceil(file.sizeBytes / CHUNK_BYTES);
}

export function chunkLength(file: Pick<DepositFileRow, 'sizeBytes'>, chunk: number): number {
  return Math.min(CHUNK_BYTES, file.sizeBytes - chunk * CHUNK_BYTES);
}

/**
 * The raw bytes of chunks `first` to `last` as the peer has them: NOT verified. Throws AppError: the
 * peer's refusal, or `peer-*`.
 */
async function* peerBytes(
  context: DepositContext,
  file: DepositFileRow,
  first: number,
  last: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { link, clock } = context;
  if (!link || !context.peerAlive())
    throw new AppError('peer-unreachable', 'The peer is not connected.');
  const { id, depositId, name, path, sizeBytes, sha256 } = file;
  const header = {
    v: 1,
    file: { id, depositId, name, path, sizeBytes, sha256 },
    firstChunk: first,
    lastChunk: last,
  };
  const exchange = await link.open('deposit-get', header, {
    timeoutMs: Math.max(2000, context.degradeAfterMs),
    signal,
  });
  const over = new AbortController();
  let waitingSinceMs: number | null = clock.monotonicMs();
  const watch = async () => {
    while (!over.signal.aborted) {
      if (waitingSinceMs !== null && clock.monotonicMs() - waitingSinceMs > IDLE_MS)
        return exchange.abort(`no byte for ${IDLE_MS} ms`);
      await clock.sleep(IDLE_MS / 4, over.signal);
    }
  };
  const onAbort = () => exchange.abort('no longer wanted');
  signal.addEventListener('abort', onAbort, { once: true });
  watch().catch(() => undefined);
  try {
    await exchange.end();
    for await (const record of receive(exchange)) {
      if (record.kind === 'message') {
        const answer = parseFromPeer(GET_ANSWER, record.value);
        if ('refused' in answer) throw refusalError(answer.refused);
        continue;
      }
      waitingSinceMs = null;
      yield record.bytes;
      waitingSinceMs = clock.monotonicMs();
    }
  } finally {
    over.abort();
    signal.removeEventListener('abort', onAbort);
    exchange.abort('done');
  }
}

export type PeerPiece =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** The pieces since the last end are this chunk's, and right. */
  | { readonly kind: 'chunk'; readonly chunk: number };

/**
 * Pieces of chunks `first` to `last`, each chunk followed by the word that it is right. A wrong chunk
 * throws AppError `content-unavailable`: what came since the last `chunk` must be thrown away.
 */
export async function* pullChunks(
  context: DepositContext,
  file: DepositFileRow,
  first: number,
  last: number,
  signal: AbortSignal,
): AsyncGenerator<PeerPiece> {
  let chunk = first;
  let left = chunkLength(file, chunk);
  let hash = createSha256();
  for await (const piece of peerBytes(context, file, first, last, signal)) {
    for (let offset = 0; offset < piece.length; ) {
      if (chunk > last) throw new AppError('peer-refused', 'The peer sent more than was asked.');
      const part = piece.subarray(offset, offset + left);
      offset += part.length;
      left -= part.length;
      hash.update(part);
      yield { kind: 'bytes', bytes: part };
      if (left > 0) continue;
      if (hash.hex() !== file.chunkSha256[chunk]) throw damagedAtPeer(context, chunk);
      yield { kind: 'chunk', chunk };
      chunk += 1;
      left = chunk <= last ? chunkLength(file, chunk) : 0;
      hash = createSha256();
    }
  }
  if (chunk <= last) throw new AppError('peer-unreachable', 'The peer ended the file early.');
}

function damagedAtPeer(context: DepositContext, chunk: number): AppError {
  context.metrics.count('deposit_chunks_bad_total', 'Chunks whose bytes were wrong', {
    where: 'peer',
  });
  return new AppError('content-unavailable', `chunk ${chunk} is damaged there`);
}

/** Whole verified chunks, one at a time in memory. Ends or throws like pullChunks. */
export async function* wholeChunks(
  context: DepositContext,
  file: DepositFileRow,
  first: number,
  last: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let buffer = new Uint8Array(chunkLength(file, first));
  let filled = 0;
  for await (const piece of pullChunks(context, file, first, last, signal)) {
    if (piece.kind === 'bytes') {
      buffer.set(piece.bytes, filled);
      filled += piece.bytes.length;
      continue;
    }
    yield buffer;
    filled = 0;
    if (piece.chunk < last) buffer = new Uint8Array(chunkLength(file, piece.chunk + 1));
  }
}

/** True when one whole chunk in memory is what the row says. */
export function isChunk(file: DepositFileRow, chunk: number, bytes: Uint8Array): boolean {
  return sha256Hex(bytes) === file.chunkSha256[chunk];
}
