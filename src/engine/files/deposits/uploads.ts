/** Uploads at the origin: one temp here, one at the peer while it keeps up. */
import type { DepositFileRow } from '../../../core/deposit.ts';
import { AppError, describeError } from '../../../core/errors.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { DepositBytes, DepositUpload, UploadDigest } from '../../../core/ports.ts';
import { createDigester, slices } from '../../../platform/hashing.ts';
import type { DepositContext } from './context.ts';
import { type FreeSpace, RECHECK_BYTES } from './free-space.ts';
import type { IntakeJournal } from './intake-journal.ts';
import { openPeerLeg, type PeerLeg } from './peer-leg.ts';
import type { PeerLegGate } from './peer-leg-gate.ts';
import type { Publisher } from './publisher.ts';
import type { RunningUploads } from './running-uploads.ts';
import { withinStoreDeadline } from './store-errors.ts';
import { createTemp, type FinishedTemp, type StoreTemp } from './temp-file.ts';

export interface UploadParts {
  readonly context: DepositContext;
  readonly gate: PeerLegGate;
  readonly publisher: Publisher;
  readonly journal: IntakeJournal;
  readonly running: RunningUploads;
  readonly free: FreeSpace;
}

/** Opens both halves. Throws AppError `storage` or `store-failed` before a byte is written. */
export async function beginUpload(
  parts: UploadParts,
  options: Parameters<DepositBytes['begin']>[0],
): Promise<DepositUpload> {
  const { context } = parts;
  const { store, clock, pace } = context;
  const health = store.health();
  if (!health.ok) throw new AppError('store-failed', `The store failed: ${health.reason}`);
  const ready = async () => {
    await store.assertSame();
    await parts.free.require(options.expectedBytes ?? 0);
  };
  await withinStoreDeadline(clock, store, pace.storeDeadlineMs, 'begin an upload', ready());
  const leg = openPeerLeg(context, parts.gate, options.expectedBytes ?? null);
  try {
    return new Upload(parts, await createTemp(context), leg, options.signal);
  } catch (error) {
    leg?.drop('discarded');
    throw error;
  }
}

/** Compares what the peer flushed with what passed here; a difference is the peer's loss only. */
function compareDigests(
  context: DepositContext,
  leg: PeerLeg,
  ours: UploadDigest,
  theirs: Pick<UploadDigest, 'sizeBytes' | 'sha256'>,
): void {
  if (theirs.sizeBytes === ours.sizeBytes && theirs.sha256 === ours.sha256) return;
  context.metrics.count(
    'deposit_peer_mismatch_total',
    'Uploads whose bytes at the peer were not the bytes here',
  );
  leg.drop('mismatch', `here ${ours.sizeBytes} bytes, there ${theirs.sizeBytes}`);
}

type UploadState = 'open' | 'finished' | 'published' | 'closed';

class Upload implements DepositUpload {
  readonly #parts: UploadParts;
  readonly #temp: StoreTemp;
  readonly #leg: PeerLeg | null;
  readonly #signal: AbortSignal | undefined;
  readonly #digester = createDigester();
  #state: UploadState = 'open';
  #sinceCheck = 0;
  #finished: FinishedTemp | null = null;
  #digest: UploadDigest | null = null;
  #placed: { readonly id: DepositId; readonly path: string } | null = null;

  constructor(
    parts: UploadParts,
    temp: StoreTemp,
    leg: PeerLeg | null,
    signal: AbortSignal | undefined,
  ) {
    this.#parts = parts;
    this.#temp = temp;
    this.#leg = leg;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) this.#onAbort();
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#orDiscard(async () => {
      for (const slice of slices(chunk)) await this.#writeSlice(slice);
    });
  }

  finish(): Promise<UploadDigest> {
    return this.#orDiscard(async () => {
      this.#require('open');
      this.#state = 'finished';
      const atPeer = this.#leg?.finish();
      this.#finished = await this.#temp.finish();
      const digest = this.#digester.finish();
      this.#digest = digest;
      const { metrics } = this.#parts.context;
      metrics.count('deposit_bytes_received_total', 'Bytes of uploads', {}, digest.sizeBytes);
      const theirs = await atPeer;
      this.#require('finished');
      if (this.#leg && theirs) compareDigests(this.#parts.context, this.#leg, digest, theirs);
      return digest;
    });
  }

  publish(file: DepositFileRow): Promise<{ readonly atPeer: boolean }> {
    return this.#orDiscard(async () => {
      this.#require('finished');
      const { publisher, running } = this.#parts;
      const [temp, digest] = [this.#finished, this.#digest];
      if (!temp || digest?.sha256 !== file.sha256 || digest.sizeBytes !== file.sizeBytes)
        throw new AppError('internal', 'The row does not describe the bytes that were taken.');
      this.#state = 'published';
      this.#placed = { id: file.depositId, path: file.path };
      running.add(file.depositId);
      const atPeer = this.#leg?.publish(file);
      await publisher.publish(temp, file, 'origin');
      return { atPeer: (await atPeer) ?? false };
    });
  }

  committed(): void {
    if (this.#placed) this.#parts.journal.claimed(this.#placed.path);
    this.#close();
  }

  async discard(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#close();
    this.#leg?.drop('discarded');
    await (this.#finished ?? this.#temp).discard();
  }

  readonly #onAbort = () => {
    // Once published the caller decides: what is committed must not be undone by a lost connection.
    if (this.#state === 'published') return;
    this.discard().catch((error: unknown) =>
      this.#parts.context.log.warn('deposit.discard-failed', { error: describeError(error) }),
    );
  };

  #close(): void {
    this.#state = 'closed';
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#placed) this.#parts.running.remove(this.#placed.id);
    this.#placed = null;
  }

  #require(wanted: UploadState): void {
    if (this.#state === wanted) return;
    if (this.#signal?.aborted)
      throw new AppError('body-incomplete', 'The request ended before the deposit was complete.');
    throw new AppError('internal', `An upload was ${this.#state} where it had to be ${wanted}.`);
  }

  /** Any failure of this half ends the upload: temps go. */
  async #orDiscard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.discard();
      throw error;
    }
  }

  async #writeSlice(slice: Uint8Array): Promise<void> {
    this.#require('open');
    const taken = this.#leg?.write(slice);
    this.#digester.update(slice);
    this.#sinceCheck += slice.length;
    if (this.#sinceCheck >= RECHECK_BYTES) {
      this.#sinceCheck = 0;
      await this.#parts.free.require(0);
    }
    await this.#temp.write(slice);
    await taken;
  }
}
