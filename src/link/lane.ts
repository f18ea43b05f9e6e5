/**
 * One TLS connection to the peer as a sequence of frames. It knows nothing of exchanges: whoever owns
 * it now is its receiver. Bytes are never buffered without bound: `write` waits for the socket, and
 * `pause` stops reading, which stops the peer.
 */
import type { TLSSocket } from 'node:tls';
import { AppError, describeError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';
import {
  type ABORT,
  createFrameReader,
  encodeFrame,
  encodeFrameHead,
  encodeJson,
  type FrameKind,
  type FrameSink,
  NOTHING,
  PING,
  type REFUSE,
} from './frames.ts';
import { ABORT_FLUSH_MS, COPY_BELOW_BYTES, MAX_REASON_CHARS, TCP_KEEPALIVE_MS } from './limits.ts';

export interface LaneReceiver extends FrameSink {
  /** The lane is gone; called once. */
  lost(error: AppError): void;
}

export interface LaneOptions {
  readonly socket: TLSSocket;
  /** For messages: `host:port (ip)`. */
  readonly address: string;
  readonly clock: Clock;
  /** Called with the number of bytes received after the hellos. */
  readonly onHeard: (bytes: number) => void;
  readonly onSent: (bytes: number) => void;
  /** It cannot be used any more; called once, before `closed`. */
  readonly onLost: (lane: Lane, error: AppError) => void;
}

export class Lane {
  readonly address: string;
  /** Resolves when the socket is closed and its handle freed. */
  readonly closed: Promise<void>;
  /** Null while nobody owns it; a frame but PING then breaks it. */
  receiver: LaneReceiver | null = null;
  /** Set when both hellos were accepted. */
  peerInstance: string | null = null;
  peerVersion = '';
  lastHeardMs: number;
  lastSentMs: number;
  /** When its last exchange ended. */
  idleSinceMs: number;
  readonly #socket: TLSSocket;
  readonly #options: LaneOptions;
  #lost: AppError | null = null;
  #paused = false;
  readonly #writing = new Set<() => void>();
  #drain: { promise: Promise<void>; resolve: () => void } | null = null;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.address = options.address;
    const now = options.clock.monotonicMs();
    this.lastHeardMs = now;
    this.lastSentMs = now;
    this.idleSinceMs = now;
    const reader = createFrameReader({
      data: (bytes) => (this.receiver ? this.receiver.data(bytes) : this.#violated('data')),
      control: (kind, payload) => this.#control(kind, payload),
    });
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    socket.on('data', (chunk: Uint8Array) => {
      if (this.#lost) return;
      this.lastHeardMs = options.clock.monotonicMs();
      if (this.peerInstance !== null) options.onHeard(chunk.length);
      const fault = reader.push(chunk);
      if (fault) this.#violated(fault);
    });
    socket.on('drain', () => this.#drained());
    socket.on('error', (error) => this.destroy(describeError(error)));
    socket.on('end', () => this.destroy('the other end closed it'));
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.destroy('the other end closed it');
        resolve();
      });
    });
  }

  get isOpen(): boolean {
    return this.#lost === null;
  }

  /** Whether this side stopped reading; then silence proves nothing. */
  get isPaused(): boolean {
    return this.#paused;
  }

  #control(kind: FrameKind, payload: Uint8Array): void {
    if (this.#lost) return;
    if (kind === PING && this.peerInstance !== null) return;
    if (this.receiver) this.receiver.control(kind, payload);
    else this.#violated(`frame ${kind}`);
  }

  #violated(what: string): void {
    this.destroy(`the other end broke the protocol: ${what} out of place`);
  }

  #drained(): void {
    this.#drain?.resolve();
    this.#drain = null;
  }

  /**
   * Hands one frame to the socket at once, in the order of calls; resolves when the socket has taken
   * it, and then the payload may be reused. Rejects with the AppError that broke the lane.
   */
  async write(kind: FrameKind, payload: Uint8Array = NOTHING): Promise<void> {
    if (this.#lost) throw this.#lost;
    this.lastSentMs = this.#options.clock.monotonicMs();
    this.#options.onSent(payload.length);
    if (payload.length < COPY_BELOW_BYTES) {
      if (this.#socket.write(encodeFrame(kind, payload))) return;
      this.#drain ??= Promise.withResolvers<void>();
      await this.#drain.promise;
    } else {
      // Not copied: a gigabyte of frames would be a gigabyte of garbage.
      this.#socket.write(encodeFrameHead(kind, payload.length));
      await this.#taken(payload);
    }
    // Another frame may have broken the lane meanwhile; read it anew.
    const lost = this.#lost as AppError | null;
    if (lost) throw lost;
  }

  /** A destroyed socket may forget its callbacks, so the end of the lane resolves it too. */
  #taken(payload: Uint8Array): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#writing.add(resolve);
      this.#socket.write(payload, () => {
        this.#writing.delete(resolve);
        resolve();
      });
    });
  }

  /** Sends a ping unless the socket is busy sending anyway. */
  ping(): void {
    if (this.#lost || this.#socket.writableNeedDrain) return;
    this.write(PING).catch(() => undefined);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    // Silence while paused was our own doing.
    this.lastHeardMs = this.#options.clock.monotonicMs();
    this.#socket.resume();
  }

  /** Cuts the connection at once. Safe to call twice. */
  destroy(reason: string): void {
    this.#lose(reason);
    this.#socket.destroy();
  }

  /** Tells the peer why, if the socket takes it at once, and cuts the connection. Safe to call twice. */
  sayAndDestroy(kind: typeof ABORT | typeof REFUSE, code: string, reason: string): void {
    if (this.#lost) return;
    this.#lose(reason);
    if (this.#socket.writableNeedDrain || !this.#socket.writable) {
      this.#socket.destroy();
      return;
    }
    const payload = encodeJson({ code, message: reason.slice(0, MAX_REASON_CHARS) });
    this.#socket.end(encodeFrame(kind, payload));
    // What still comes must be read, or closing answers with a reset that overtakes the reason.
    this.#socket.resume();
    const closed = new AbortController();
    void this.closed.then(() => closed.abort());
    void this.#options.clock
      .sleep(ABORT_FLUSH_MS, closed.signal)
      .then(() => this.#socket.destroy());
  }

  #lose(reason: string): void {
    if (this.#lost) return;
    this.#lost = new AppError(
      'peer-unreachable',
      `The connection with ${this.address} is over: ${reason}`,
    );
    this.#drained();
    for (const resolve of this.#writing) resolve();
    this.#writing.clear();
    const receiver = this.receiver;
    this.receiver = null;
    receiver?.lost(this.#lost);
    this.#options.onLost(this, this.#lost);
  }
}
