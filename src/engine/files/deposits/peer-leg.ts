/** The peer's half of one upload, as the origin sees it: it may fall away at any time, and never fails the upload. */
import { AppError, describeError } from '../../../core/errors.ts';
import type { Exchange, UploadDigest } from '../../../core/ports.ts';
import type { DepositContext, PlacedFile } from './context.ts';
import type { PeerLegGate } from './peer-leg-gate.ts';
import {
  encodeData,
  encodeMessage,
  PUT_ANSWER,
  parseFromPeer,
  receive,
  refusalError,
  sendData,
} from './wire.ts';

/** Small bodies are gathered and sent with the end in one piece. */
const GATHER_BYTES = 64 * 1024;

export interface PeerLeg {
  /** Resolves when the peer can take more, or when it was dropped. Never rejects. */
  write(bytes: Uint8Array): Promise<void>;
  /** What the peer flushed; null when it was dropped. Never rejects. */
  finish(): Promise<Pick<UploadDigest, 'sizeBytes' | 'sha256'> | null>;
  /** True when the peer published it durably. Never rejects. */
  publish(file: PlacedFile): Promise<boolean>;
  /** Goes on without the peer, which then removes its temp. Safe at any time. */
  drop(reason: DropReason, detail?: string): void;
}

export type DropReason =
  | 'busy'
  | 'stalled'
  | 'unreachable'
  | 'refused'
  | 'mismatch'
  | 'cut'
  | 'discarded';

type Finished = Pick<UploadDigest, 'sizeBytes' | 'sha256'>;

/** Tells why the exchange could not be opened or went away. */
function reasonOf(error: unknown): DropReason {
  if (error instanceof BusyError) return 'busy';
  if (!(error instanceof AppError)) return 'cut';
  if (error.code === 'peer-timeout') return 'stalled';
  if (error.code === 'peer-unreachable') return 'unreachable';
  return 'refused';
}

/** Begins the peer's half; null when the peer is not worth asking now. */
export function openPeerLeg(
  context: DepositContext,
  gate: PeerLegGate,
  expectedBytes: number | null,
): PeerLeg | null {
  const { link } = context;
  if (!link || !gate.isOpen()) return null;
  const cancel = new AbortController();
  const open = async () => {
    const wait = AbortSignal.any([cancel.signal, AbortSignal.timeout(context.degradeAfterMs)]);
    const release = await gate.acquire(wait);
    if (!release) throw new BusyError();
    try {
      const exchange = await link.open(
        'deposit-put',
        { v: 1, expectedBytes },
        { timeoutMs: context.degradeAfterMs, signal: cancel.signal },
      );
      exchange.closed.then(release, release);
      return exchange;
    } catch (error) {
      release();
      throw error;
    }
  };
  return new Leg(context, gate, open(), cancel);
}

/** Too many uploads go to the peer now; nobody's fault. */
class BusyError extends Error {}

class Leg implements PeerLeg {
  readonly #context: DepositContext;
  readonly #gate: PeerLegGate;
  readonly #opening: Promise<Exchange>;
  readonly #cancel: AbortController;
  readonly #finished = Promise.withResolvers<Finished | null>();
  readonly #published = Promise.withResolvers<boolean>();
  readonly #dropped = Promise.withResolvers<null>();
  #live = true;
  #done = false;
  #exchange: Exchange | null = null;
  #lastProgressMs = 0;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;

  constructor(
    context: DepositContext,
    gate: PeerLegGate,
    opening: Promise<Exchange>,
    cancel: AbortController,
  ) {
    this.#context = context;
    this.#gate = gate;
    this.#opening = opening;
    this.#cancel = cancel;
    this.#run().catch((error: unknown) => this.drop(reasonOf(error), describeError(error)));
  }

  drop(reason: DropReason, detail = ''): void {
    if (!this.#live) return;
    this.#live = false;
    this.#gathered = [];
    this.#finished.resolve(null);
    this.#published.resolve(false);
    this.#dropped.resolve(null);
    this.#cancel.abort();
    this.#exchange?.abort(`upload: ${reason}`);
    if (!this.#done && reason !== 'discarded') this.#tell(reason, detail);
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#live) return;
    if (this.#gatheredBytes + bytes.length < GATHER_BYTES) {
      this.#gathered.push(bytes);
      this.#gatheredBytes += bytes.length;
      return;
    }
    const before = this.#takeGathered();
    await this.#onExchange(async (open) => {
      for (const record of before) await open.send(record);
      await sendData(open, bytes);
    });
  }

  async finish(): Promise<Finished | null> {
    if (!this.#live) return null;
    const last = Buffer.concat([...this.#takeGathered(), encodeMessage({ op: 'finish' })]);
    await this.#onExchange((open) => open.send(last));
    return await this.#orStall(this.#finished.promise);
  }

  async publish(file: PlacedFile): Promise<boolean> {
    if (!this.#live) return false;
    const { id, depositId, name, path, sizeBytes, sha256 } = file;
    const command = { op: 'publish', file: { id, depositId, name, path, sizeBytes, sha256 } };
    await this.#onExchange(async (open) => {
      await open.send(encodeMessage(command));
      await open.end();
    });
    return (await this.#orStall(this.#published.promise)) === true;
  }

  #tell(reason: DropReason, detail: string): void {
    const { log, metrics } = this.#context;
    metrics.count('deposit_peer_leg_dropped_total', 'Uploads that went on without the peer', {
      reason,
    });
    log[reason === 'unreachable' ? 'debug' : 'warn']('deposit.peer-leg-dropped', {
      reason,
      detail,
    });
    if (reason === 'stalled') this.#gate.trip(detail === '' ? 'no byte taken in time' : detail);
  }

  #takeGathered(): Uint8Array[] {
    const record = this.#gatheredBytes > 0 ? [encodeData(this.#gathered)] : [];
    this.#gathered = [];
    this.#gatheredBytes = 0;
    return record;
  }

  #progress(): void {
    this.#lastProgressMs = this.#context.clock.monotonicMs();
  }

  /** Opens, then takes what the peer says until it ends. */
  async #run(): Promise<void> {
    const exchange = await this.#opening;
    this.#exchange = exchange;
    if (!this.#live) exchange.abort('the upload went on without the peer');
    for await (const record of receive(exchange)) {
      this.#progress();
      if (record.kind !== 'message') continue;
      const answer = parseFromPeer(PUT_ANSWER, record.value);
      if ('refused' in answer) throw refusalError(answer.refused);
      if ('finished' in answer) this.#finished.resolve(answer.finished);
      if ('published' in answer) {
        this.#done = true;
        this.#published.resolve(true);
      }
    }
    if (!this.#done) throw new AppError('peer-unreachable', 'The peer ended the upload early.');
  }

  /** Runs on the open exchange, within the stall deadline. */
  async #onExchange(work: (open: Exchange) => Promise<void>): Promise<void> {
    // Opening has a deadline of its own; ours begins with the first byte.
    const open = await Promise.race([this.#opening.catch(() => null), this.#dropped.promise]);
    if (open && this.#live) await this.#orStall(work(open));
  }

  /** The value, or null once the peer moved nothing for the degrade deadline or was dropped. */
  async #orStall<T>(work: Promise<T>): Promise<T | null> {
    const over = new AbortController();
    this.#progress();
    try {
      return await Promise.race([work, this.#dropped.promise, this.#stalled(over.signal)]);
    } catch (error) {
      this.drop(reasonOf(error), describeError(error));
      return null;
    } finally {
      over.abort();
      this.#progress();
    }
  }

  async #stalled(over: AbortSignal): Promise<null> {
    const { clock, degradeAfterMs } = this.#context;
    while (!over.aborted) {
      const leftMs = this.#lastProgressMs + degradeAfterMs - clock.monotonicMs();
      if (leftMs > 0) await clock.sleep(leftMs, over);
      else {
        this.drop('stalled', `nothing moved for ${degradeAfterMs} ms`);
        break;
      }
    }
    return null;
  }
}
