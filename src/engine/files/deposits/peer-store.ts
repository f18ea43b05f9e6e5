/** The peer's side: what this site does for the other one's uploads, reads and questions. */
import { constants, promises as fs } from 'node:fs';
import { CHUNK_BYTES } from '../../../core/deposit.ts';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { Exchange } from '../../../core/ports.ts';
import { createSha256, SLICE_BYTES } from '../../../platform/hashing.ts';
import type { DepositContext } from './context.ts';
import { type FreeSpace, RECHECK_BYTES } from './free-space.ts';
import { createSemaphore } from './keyed-lock.ts';
import { type Publisher, requireOwnPath } from './publisher.ts';
import type { RunningUploads } from './running-uploads.ts';
import { storeError } from './store-errors.ts';
import { createTemp, type FinishedTemp, type StoreTemp } from './temp-file.ts';
import {
  GET_HEADER,
  PROBE_HEADER,
  PUT_COMMAND,
  PUT_HEADER,
  parseFromPeer,
  RESOLVE_BODY,
  receive,
  refusal,
  sendData,
  sendMessage,
} from './wire.ts';

/** The peer's uploads and reads at the same time; more are refused, and the origin copes. */
const MAX_PUTS = 256;
const MAX_GETS = 64;
/** Progress is told after this many bytes or this time, so that a slow way is not taken for a dead one. */
const TELL_EVERY_BYTES = 512 * 1024;
const TELL_EVERY_MS = 200;

interface PeerStoreParts {
  readonly context: DepositContext;
  readonly publisher: Publisher;
  readonly free: FreeSpace;
  readonly running: RunningUploads;
}

async function requireHealthy({ context, free }: PeerStoreParts, bytes: number): Promise<void> {
  const health = context.store.health();
  if (!health.ok) throw new AppError('store-failed', `The store failed: ${health.reason}`);
  await context.store.assertSame();
  await free.require(bytes);
}

/** Runs one exchange: a thrown error is told to the peer, then the exchange ends. */
async function answering(exchange: Exchange, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    await exchange.end();
  } catch (error) {
    try {
      await sendMessage(exchange, refusal(error));
      await exchange.end();
    } catch {
      // The exchange is broken: the peer knows already.
      exchange.abort(describeError(error));
    }
  }
}

async function takePut(parts: PeerStoreParts, exchange: Exchange, temp: StoreTemp) {
  const { clock } = parts.context;
  const hash = createSha256();
  let sizeBytes = 0;
  let checked = 0;
  const told = { bytes: 0, atMs: clock.monotonicMs() };
  let sha256 = '';
  let finished: FinishedTemp | null = null;
  for await (const record of receive(exchange)) {
    if (record.kind === 'data') {
      if (finished) throw new AppError('bad-request', 'Bytes after the end of the upload.');
      hash.update(record.bytes);
      sizeBytes += record.bytes.length;
      await temp.write(record.bytes);
      if (sizeBytes - checked >= RECHECK_BYTES) {
        checked = sizeBytes;
        await parts.free.require(0);
      }
      const nowMs = clock.monotonicMs();
      if (sizeBytes - told.bytes < TELL_EVERY_BYTES && nowMs - told.atMs < TELL_EVERY_MS) continue;
      Object.assign(told, { bytes: sizeBytes, atMs: nowMs });
      await sendMessage(exchange, { taken: sizeBytes });
      continue;
    }
    const command = parseFromPeer(PUT_COMMAND, record.value);
    if (command.op === 'finish') {
      if (finished) throw new AppError('bad-request', 'The upload is finished already.');
      finished = await temp.finish();
      sha256 = hash.hex();
      await sendMessage(exchange, { finished: { sizeBytes, sha256 } });
      continue;
    }
    const { file } = command;
    if (!finished || file.sizeBytes !== sizeBytes || file.sha256 !== sha256)
      throw new AppError('bad-request', 'The file to publish is not the one that was sent.');
    await parts.publisher.publish(finished, file, 'peer');
    await sendMessage(exchange, { published: true });
  }
}

async function servePut(parts: PeerStoreParts, exchange: Exchange): Promise<void> {
  let temp: StoreTemp | null = null;
  await answering(exchange, async () => {
    const header = parseFromPeer(PUT_HEADER, exchange.header);
    await requireHealthy(parts, header.expectedBytes ?? 0);
    temp = await createTemp(parts.context);
    await takePut(parts, exchange, temp);
  });
  // Whatever was not published goes; after publishing there is nothing left to discard.
  await (temp as StoreTemp | null)?.discard();
}

async function serveGet({ context }: PeerStoreParts, exchange: Exchange): Promise<void> {
  const { file, firstChunk, lastChunk } = parseFromPeer(GET_HEADER, exchange.header);
  requireOwnPath(file);
  const { store } = context;
  const start = firstChunk * CHUNK_BYTES;
  const end = Math.min(file.sizeBytes, (lastChunk + 1) * CHUNK_BYTES);
  if (start > end) throw new AppError('bad-request', 'No such chunk.');
  const handle = await fs
    .open(store.at(file.path), constants.O_RDONLY | constants.O_NOFOLLOW)
    .catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR')
        throw new AppError('not-found', `${file.path} is not in this store.`);
      throw storeError(store, error, `open ${file.path}`);
    });
  try {
    const { size } = await handle.stat();
    if (size !== file.sizeBytes)
      throw new AppError('not-found', `${file.path} has ${size} bytes here.`);
    await sendMessage(exchange, { bytes: end - start });
    for (let position = start; position < end; ) {
      // A new buffer each time: the link may still hold the one before.
      const buffer = new Uint8Array(Math.min(SLICE_BYTES, end - position));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) throw new AppError('not-found', `${file.path} ended early.`);
      await sendData(exchange, buffer.subarray(0, bytesRead));
      position += bytesRead;
      context.garbage.passed(bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function serveProbe(parts: PeerStoreParts, exchange: Exchange): Promise<void> {
  parseFromPeer(PROBE_HEADER, exchange.header);
  await requireHealthy(parts, 0);
  const temp = await createTemp(parts.context);
  try {
    await temp.write(new Uint8Array(4096));
    await temp.finish();
  } finally {
    await temp.discard();
  }
  await sendMessage(exchange, { ok: true });
}

/** Takes the peer's `deposit-put`, `deposit-get`, `deposit-probe` and `deposit.resolve`. */
export function servePeer(parts: PeerStoreParts): void {
  const { context, running } = parts;
  const { link, needs } = context;
  if (!link) return;
  const bounded = (
    limit: number,
    work: (parts: PeerStoreParts, exchange: Exchange) => Promise<void>,
  ) => {
    const places = createSemaphore(limit);
    return async (exchange: Exchange) => {
      const release = await places.acquire(AbortSignal.timeout(context.degradeAfterMs));
      try {
        if (!release) throw new AppError('peer-refused', 'Too many at once.');
        await work(parts, exchange);
      } catch (error) {
        await answering(exchange, () => Promise.reject(error));
      } finally {
        release?.();
      }
    };
  };
  const answered =
    (work: typeof serveGet): typeof serveGet =>
    (given, exchange) =>
      answering(exchange, () => work(given, exchange));
  link.serve('deposit-put', bounded(MAX_PUTS, servePut));
  link.serve('deposit-get', bounded(MAX_GETS, answered(serveGet)));
  link.serve('deposit-probe', bounded(4, answered(serveProbe)));
  link.answer('deposit.resolve', async (body) => {
    const { ids } = parseFromPeer(RESOLVE_BODY, body);
    const rows = await needs.known(ids);
    return { known: ids.filter((id) => rows.has(id) || running.has(id)) };
  });
}
