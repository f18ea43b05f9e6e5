/**
 * One exchange on a lane, seen from one end. Each direction has its own end; when both ended the lane
 * is handed back, in any other case it is cut. Bytes that were received whole (the peer's end came)
 * are still given out when the lane breaks afterwards.
 */
import { AppError } from '../core/errors.ts';
import type { Exchange } from '../core/ports.ts';
import {
  ABORT,
  ACCEPT,
  DATA,
  decodeJson,
  END,
  encodeJson,
  type FrameKind,
  NOTHING,
  OPEN,
  REFUSE,
} from './frames.ts';
import type { Lane, LaneReceiver } from './lane.ts';
import {
  DATA_PIECE_BYTES,
  MAX_CONTROL_BYTES,
  MAX_DISCARD_BYTES,
  MAX_REASON_CHARS,
  RECEIVE_BUFFER_BYTES,
  RECEIVE_RESUME_BYTES,
} from './limits.ts';

export interface LaneExchangeOptions {
  readonly lane: Lane;
  readonly purpose: string;
  readonly header: unknown;
  readonly peer: string;
  /** Both directions ended: the lane is free. Called at most once, and not when it broke. */
  readonly onFree: () => void;
}

/** What a REFUSE or ABORT frame says; its text is the peer's, bounded. */
function parseReason(payload: Uint8Array): { readonly code: string; readonly message: string } {
  const raw = decodeJson(payload) as { code?: unknown; message?: unknown } | null | undefined;
  const text = (value: unknown, fallback: string) =>
    typeof value === 'string' ? value.slice(0, MAX_REASON_CHARS) : fallback;
  return { code: text(raw?.code, 'unknown'), message: text(raw?.message, 'no reason given') };
}

export class LaneExchange implements Exchange, LaneReceiver {
  readonly header: unknown;
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly closed: Promise<void>;
  /** Resolves when the peer took it; rejects with AppError when it refused or the lane broke. */
  readonly accepted: Promise<void>;
  /** Aborts when the exchange breaks; not when it ends. */
  readonly broken: AbortSignal;
  readonly #options: LaneExchangeOptions;
  readonly #broken = new AbortController();
  readonly #settled = Promise.withResolvers<void>();
  readonly #accepted = Promise.withResolvers<void>();
  #sending: Promise<void> = Promise.resolve();
  #endCalled = false;
  #localEnded = false;
  #remoteEnded = false;
  #failure: AppError | null = null;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #discarding = false;
  #discardedBytes = 0;
  #reader: (() => void) | null = null;

  constructor(options: LaneExchangeOptions) {
    this.#options = options;
    this.header = options.header;
    this.broken = this.#broken.signal;
    this.closed = this.#settled.promise;
    this.accepted = this.#accepted.promise;
    this.#accepted.promise.catch(() => undefined);
    // An iterator that is left early leaves the rest for the next one: leaving is not aborting.
    this.incoming = { [Symbol.asyncIterator]: () => ({ next: () => this.#next() }) };
    options.lane.receiver = this;
  }

  get isOver(): boolean {
    return this.#failure !== null || (this.#localEnded && this.#remoteEnded);
  }

  get hasEnded(): boolean {
    return this.#endCalled;
  }

  // ------------------------------------------------------------ sending

  /** Begins the exchange at the peer; the answer is `accepted`. */
  begin(): void {
    const { lane, purpose, header } = this.#options;
    lane.write(OPEN, encodeJson({ purpose, header })).catch(() => undefined);
  }

  accept(): void {
    this.#options.lane.write(ACCEPT).catch(() => undefined);
  }

  /** Ends this side with a refusal; what the opener still sends is thrown away. */
  refuse(code: string, message: string): void {
    this.#endCalled = true;
    const payload = encodeJson({ code, message: message.slice(0, MAX_REASON_CHARS) });
    this.#options.lane
      .write(REFUSE, payload.length > MAX_CONTROL_BYTES ? NOTHING : payload)
      .catch(() => undefined);
    this.#localEnded = true;
    this.discardRest();
    this.#settleIfEnded();
  }

  async send(bytes: Uint8Array): Promise<void> {
    if (this.#endCalled && !this.#failure)
      throw new AppError(
        'internal',
        `The exchange ${this.#options.purpose} was sent to after its end.`,
      );
    await this.#inOrder(async () => {
      for (let offset = 0; offset < bytes.length; offset += DATA_PIECE_BYTES) {
        if (this.#failure) throw this.#failure;
        await this.#options.lane.write(DATA, bytes.subarray(offset, offset + DATA_PIECE_BYTES));
      }
    });
  }

  async end(): Promise<void> {
    if (this.#endCalled) return;
    this.#endCalled = true;
    await this.#inOrder(() => this.#writeEnd());
  }

  async #writeEnd(): Promise<void> {
    const written = this.#options.lane.write(END);
    // Ended once the frame stands in the stream: the peer may answer it before the socket says so.
    this.#localEnded = true;
    this.#settleIfEnded();
    await written;
  }

  /** Runs `step` after all sends before it, so that concurrent senders do not mix their bytes. */
  async #inOrder(step: () => Promise<void>): Promise<void> {
    const before = this.#sending;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#sending = promise;
    try {
      await before;
      if (this.#failure) throw this.#failure;
      await step();
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      resolve();
    }
  }

  // ------------------------------------------------------------ receiving

  data(bytes: Uint8Array): void {
    if (this.#remoteEnded || this.#failure) return;
    if (this.#discarding) {
      this.#discardedBytes += bytes.length;
      if (this.#discardedBytes > MAX_DISCARD_BYTES) this.abort('sent more than anybody reads');
      return;
    }
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes >= RECEIVE_BUFFER_BYTES) this.#options.lane.pause();
    this.#wake();
  }

  control(kind: FrameKind, payload: Uint8Array): void {
    if (kind === END) this.#peerEnded();
    else if (kind === ACCEPT) this.#accepted.resolve();
    else if (kind === REFUSE) this.#refused(parseReason(payload));
    else if (kind === ABORT) this.#abortedByPeer(parseReason(payload).message);
    else this.abort(`frame ${kind} out of place`);
  }

  lost(error: AppError): void {
    this.#break(error);
    // A refused exchange waits for nothing but its end frame, which cannot leave any more.
    this.#settled.resolve();
  }

  #peerEnded(): void {
    this.#remoteEnded = true;
    // The rest of the queue is bounded; the lane is free for what comes next.
    this.#options.lane.resume();
    this.#wake();
    this.#settleIfEnded();
  }

  #refused({ code, message }: { code: string; message: string }): void {
    const { lane, purpose, peer } = this.#options;
    this.#fail(
      new AppError('peer-refused', `Site ${peer} refused ${purpose}: ${message} (${code})`),
    );
    this.#remoteEnded = true;
    if (this.#localEnded) {
      this.#free();
      return;
    }
    // Whatever is being sent stops at its next piece; then the end makes the lane usable again.
    this.#endCalled = true;
    void this.#sending.then(() => {
      this.#localEnded = true;
      lane.write(END).then(
        () => this.#free(),
        () => undefined,
      );
    });
  }

  #abortedByPeer(message: string): void {
    const { lane, purpose, peer } = this.#options;
    this.#break(new AppError('peer-refused', `Site ${peer} broke ${purpose} off: ${message}`));
    lane.destroy('broken off by the peer');
  }

  async #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      // A peer that ended has said everything: later trouble does not take its bytes back.
      if (this.#failure && !this.#remoteEnded) throw this.#failure;
      const bytes = this.#queue.shift();
      if (bytes) {
        this.#queuedBytes -= bytes.length;
        if (this.#queuedBytes <= RECEIVE_RESUME_BYTES && !this.#remoteEnded)
          this.#options.lane.resume();
        return { done: false, value: bytes };
      }
      if (this.#failure) throw this.#failure;
      if (this.#remoteEnded) return { done: true, value: undefined };
      if (this.#reader) throw new AppError('internal', 'Two readers of one exchange.');
      await new Promise<void>((resolve) => {
        this.#reader = resolve;
      });
    }
  }

  #wake(): void {
    const reader = this.#reader;
    this.#reader = null;
    reader?.();
  }

  /** Nobody will read on: the rest is thrown away, within a bound. */
  discardRest(): void {
    this.#discarding = true;
    this.#discardedBytes = this.#queuedBytes;
    this.#clearQueue();
    if (!this.#remoteEnded && !this.#failure) this.#options.lane.resume();
  }

  #clearQueue(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
  }

  // ------------------------------------------------------------ the end

  abort(reason: string): void {
    this.abortWith('aborted', reason);
  }

  /** Breaks it with a code for the peer; the reason must be fit for the peer's log. */
  abortWith(code: string, reason: string): void {
    if (this.isOver) return;
    const { lane, purpose, peer } = this.#options;
    this.#remoteEnded = false;
    this.#break(
      new AppError(
        'peer-unreachable',
        `The exchange ${purpose} with ${peer} was given up: ${reason}`,
      ),
    );
    lane.sayAndDestroy(ABORT, code, reason);
  }

  #break(error: AppError): void {
    if (this.isOver) return;
    if (!this.#remoteEnded) this.#clearQueue();
    this.#fail(error);
    this.#broken.abort(error);
    this.#settled.resolve();
  }

  #fail(error: AppError): void {
    this.#failure = error;
    this.#accepted.reject(error);
    this.#wake();
  }

  #settleIfEnded(): void {
    if (this.#failure === null && this.#localEnded && this.#remoteEnded) this.#free();
  }

  #free(): void {
    const { lane, onFree } = this.#options;
    if (lane.receiver === this) lane.receiver = null;
    this.#settled.resolve();
    if (lane.isOpen) {
      lane.resume();
      onFree();
    }
  }
}
