/**
 * Two peer links joined inside one process, with faults.
 * Fault model: `cut` breaks every exchange and refuses new ones; `silent` keeps them and loses every
 * byte; `one-way` loses the bytes of one direction only. RPC obeys the same faults.
 */
import { AppError } from '../../src/core/errors.ts';
import type { SiteName } from '../../src/core/ids.ts';
import type { Exchange, ExchangeOptions, PeerLink } from '../../src/core/ports.ts';

export type LinkMode = 'up' | 'cut' | 'silent' | 'only-a-to-b' | 'only-b-to-a';

class Pipe {
  private readonly waiting: Uint8Array[] = [];
  private done = false;
  private failure: AppError | null = null;
  private wake: (() => void) | null = null;

  push(bytes: Uint8Array): void {
    this.waiting.push(bytes);
    this.wake?.();
  }
  end(): void {
    this.done = true;
    this.wake?.();
  }
  fail(error: AppError): void {
    this.failure ??= error;
    this.wake?.();
  }
  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = this.waiting.shift();
      if (next !== undefined) yield next;
      else if (this.failure !== null) throw this.failure;
      else if (this.done) return;
      else
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
    }
  }
}

type Side = 'a' | 'b';
type Handler = (exchange: Exchange, signal: AbortSignal) => Promise<void>;
type Answer = (body: unknown, signal: AbortSignal) => Promise<unknown>;

class End implements PeerLink {
  readonly peerSite: SiteName;
  readonly handlers = new Map<string, Handler>();
  readonly answers = new Map<string, Answer>();
  heardMs: number | null = null;
  private readonly joined: JoinedLinks;
  private readonly side: Side;

  constructor(joined: JoinedLinks, side: Side, peerSite: SiteName) {
    this.joined = joined;
    this.side = side;
    this.peerSite = peerSite;
  }
  open(purpose: string, header: unknown, options: ExchangeOptions): Promise<Exchange> {
    return this.joined.open(this.side, purpose, header, options);
  }
  request(method: string, body: unknown, options: ExchangeOptions): Promise<unknown> {
    return this.joined.request(this.side, method, body, options);
  }
  serve(purpose: string, handler: Handler): void {
    this.handlers.set(purpose, handler);
  }
  answer(method: string, handler: Answer): void {
    this.answers.set(method, handler);
  }
  lastHeardMs(): number | null {
    return this.heardMs;
  }
}

export class JoinedLinks {
  readonly a: End;
  readonly b: End;
  /** Purposes whose bytes are lost although the link is up: a wedged connection. */
  readonly wedged = new Set<string>();
  private current: LinkMode = 'up';
  private readonly live = new Set<{ abort(reason: string): void }>();

  constructor(a: SiteName, b: SiteName) {
    this.a = new End(this, 'a', b);
    this.b = new End(this, 'b', a);
  }

  get mode(): LinkMode {
    return this.current;
  }
  set mode(mode: LinkMode) {
    this.current = mode;
    if (mode === 'cut') for (const exchange of [...this.live]) exchange.abort('link cut');
  }

  /** Breaks every exchange, as the death of one process does, and forgets what it served. */
  drop(side: Side): void {
    for (const exchange of [...this.live]) exchange.abort('the peer died');
    this[side].handlers.clear();
    this[side].answers.clear();
    this[side].heardMs = null;
  }

  /** Some other connection carried bytes to `side`. */
  otherBytes(side: Side): void {
    if (this.passes(side === 'a' ? 'b' : 'a')) this[side].heardMs = performance.now();
  }

  private passes(from: Side): boolean {
    if (this.current === 'up') return true;
    return this.current === (from === 'a' ? 'only-a-to-b' : 'only-b-to-a');
  }

  private reachable(from: Side): boolean {
    return this.passes(from) && this.passes(from === 'a' ? 'b' : 'a');
  }

  async open(
    from: Side,
    purpose: string,
    header: unknown,
    options: ExchangeOptions,
  ): Promise<Exchange> {
    const to = from === 'a' ? 'b' : 'a';
    const handler = this[to].handlers.get(purpose);
    if (!this.reachable(from) || handler === undefined) {
      if (this.current !== 'cut') await aborted(options.signal, options.timeoutMs);
      throw new AppError('peer-unreachable', 'no link');
    }
    const there = new Pipe();
    const back = new Pipe();
    const stop = new AbortController();
    const opened = this.end(from, purpose, header, back, there, stop);
    const taken = this.end(to, purpose, header, there, back, stop);
    stop.signal.addEventListener('abort', () => {
      this.live.delete(opened);
      this.live.delete(taken);
    });
    handler(taken, stop.signal).catch((error: unknown) => taken.abort(String(error)));
    return opened;
  }

  private end(
    side: Side,
    purpose: string,
    header: unknown,
    incoming: Pipe,
    outgoing: Pipe,
    stop: AbortController,
  ): Exchange {
    const other = side === 'a' ? 'b' : 'a';
    const closed = new Promise<void>((resolve) => {
      stop.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const exchange: Exchange = {
      header,
      incoming: incoming.read(),
      closed,
      send: async (bytes) => {
        if (stop.signal.aborted) throw new AppError('peer-unreachable', 'broken');
        if (!this.passes(side) || this.wedged.has(purpose)) return;
        this[other].heardMs = performance.now();
        outgoing.push(bytes);
      },
      end: async () => outgoing.end(),
      abort: (reason) => {
        const error = new AppError('peer-unreachable', reason);
        stop.abort();
        incoming.fail(error);
        outgoing.fail(error);
      },
    };
    this.live.add(exchange);
    return exchange;
  }

  async request(
    from: Side,
    method: string,
    body: unknown,
    options: ExchangeOptions,
  ): Promise<unknown> {
    const to = from === 'a' ? 'b' : 'a';
    const answer = this[to].answers.get(method);
    if (!this.reachable(from) || answer === undefined) {
      throw new AppError('peer-unreachable', 'no link');
    }
    const json = JSON.parse(JSON.stringify(body)) as unknown;
    const stop = new AbortController();
    const late = aborted(options.signal, options.timeoutMs).then(() => {
      stop.abort();
      throw new AppError('peer-timeout', `${method} got no answer`);
    });
    const reply = await Promise.race([answer(json, stop.signal), late]);
    this[from].heardMs = performance.now();
    return JSON.parse(JSON.stringify(reply)) as unknown;
  }
}

function aborted(signal: AbortSignal | undefined, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    timer.unref();
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
}
