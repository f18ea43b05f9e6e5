import { promises as fs } from 'node:fs';
import { CHUNK_BYTES, type DepositFileRow } from '../../../core/deposit.ts';
import { AppError, systemCode } from '../../../core/errors.ts';
import type { FileId } from '../../../core/ids.ts';
import { createSha256, SLICE_BYTES } from '../../../platform/hashing.ts';
import type { DepositContext } from './context.ts';
import { type FreeSpace, RECHECK_BYTES } from './free-space.ts';
import type { HeldFiles } from './held-files.ts';
import type { IntakeJournal } from './intake-journal.ts';
import type { KeyedLock } from './keyed-lock.ts';
import { chunkCount, pullChunks } from './peer-get.ts';
import { type Publisher, requireOwnPath } from './publisher.ts';
import { createTemp, type StoreTemp } from './temp-file.ts';
import { trashPathOf } from './trash.ts';

/** Unfinished pulls that are kept for the next attempt. */
const MAX_PARTIAL = 8;

export interface Puller {
  /**
   * Resolves when the file's verified bytes are durable at its path. Throws AppError: the store's
   * trouble, the peer's, or `content-unavailable` when its copy is damaged too.
   */
  obtain(file: DepositFileRow, signal: AbortSignal): Promise<'here' | 'trash' | 'peer'>;
  /** Is it here, right and durable? The same question as ensureHeld, under the deposit's lock. */
  isHere(file: DepositFileRow): Promise<'right' | 'wrong' | 'missing'>;
  /** Drops unfinished pulls. */
  close(): Promise<void>;
}

interface Partial {
  readonly temp: StoreTemp;
  /** Chunks that are in the temp and right. */
  chunks: number;
}

interface Parts {
  readonly context: DepositContext;
  readonly held: HeldFiles;
  readonly publisher: Publisher;
  readonly journal: IntakeJournal;
  readonly lock: KeyedLock;
  readonly free: FreeSpace;
}

/** Moved aside as unclaimed, and wanted after all: copied back, so that it is verified like any. */
async function fromTrash({ context, publisher }: Parts, file: DepositFileRow): Promise<boolean> {
  const { store } = context;
  const source = await fs.open(store.at(trashPathOf(file)), 'r').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  });
  if (!source) return false;
  const temp = await createTemp(context);
  const hash = createSha256();
  try {
    for (let position = 0; position < file.sizeBytes; ) {
      const buffer = new Uint8Array(Math.min(SLICE_BYTES, file.sizeBytes - position));
      const { bytesRead } = await source.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return false;
      hash.update(buffer.subarray(0, bytesRead));
      await temp.write(buffer.subarray(0, bytesRead));
      position += bytesRead;
    }
    if (hash.hex() !== file.sha256) return false;
    await publisher.replace(await temp.finish(), file);
    return true;
  } finally {
    await temp.discard();
    await source.close();
  }
}

/** Fills the temp up; what it has of whole right chunks stays when this throws. */
async function pullInto(
  { context, free }: Parts,
  file: DepositFileRow,
  state: Partial,
  signal: AbortSignal,
): Promise<void> {
  const count = chunkCount(file);
  if (state.chunks >= count) return;
  let unchecked = 0;
  try {
    for await (const piece of pullChunks(context, file, state.chunks, count - 1, signal)) {
      if (piece.kind === 'chunk') {
        state.chunks = piece.chunk + 1;
        continue;
      }
      await state.temp.write(piece.bytes);
      unchecked += piece.bytes.length;
      if (unchecked < RECHECK_BYTES) continue;
      unchecked = 0;
      await free.require(0);
    }
  } catch (error) {
    // Back to the last chunk that is right; the next attempt goes on from there.
    await state.temp.drain();
    await state.temp.truncate(Math.min(file.sizeBytes, state.chunks * CHUNK_BYTES));
    throw error;
  }
}

export function createPuller(parts: Parts): Puller {
  const { context, held, publisher, journal, lock, free } = parts;
  const { store } = context;
  const partial = new Map<FileId, Partial>();

  const isHere = (file: DepositFileRow) =>
    lock.run(file.depositId, async () => {
      // A mount that went away must not vouch for what is under its mount point.
      await store.assertSame();
      const finding = (await held.isKnown(file)) ? 'right' : await held.verify(file);
      await store.assertSame();
      // The row is known to the caller: the file is claimed, whoever placed it.
      if (finding === 'right') journal.claimed(file.path);
      return finding;
    });

  const keep = async (file: DepositFileRow, state: Partial) => {
    if (state.chunks === 0) return await state.temp.discard();
    partial.set(file.id, state);
    const oldest = partial.entries().next();
    if (partial.size <= MAX_PARTIAL || oldest.done) return;
    partial.delete(oldest.value[0]);
    await oldest.value[1].temp.discard();
  };

  const fromPeer = async (file: DepositFileRow, signal: AbortSignal) => {
    if (!context.link || !context.peerAlive())
      throw new AppError('peer-unreachable', 'The peer is not connected.');
    await free.require(file.sizeBytes);
    const state = partial.get(file.id) ?? { temp: await createTemp(context), chunks: 0 };
    partial.delete(file.id);
    try {
      await pullInto(parts, file, state, signal);
    } catch (error) {
      const own = error instanceof AppError && ['storage', 'store-failed'].includes(error.code);
      if (own) await state.temp.discard();
      else await keep(file, state);
      throw error;
    }
    try {
      await publisher.replace(await state.temp.finish(), file);
    } finally {
      await state.temp.discard();
    }
  };

  return {
    isHere,
    async obtain(file, signal) {
      requireOwnPath(file);
      if ((await isHere(file)) === 'right') return 'here';
      if (await fromTrash(parts, file)) return 'trash';
      await fromPeer(file, signal);
      journal.claimed(file.path);
      return 'peer';
    },
    async close() {
      const all = [...partial.values()];
      partial.clear();
      await Promise.all(all.map((state) => state.temp.discard()));
    },
  };
}
