/**
 * Two ends of a link in one process: bounded queues, independent ends, and the faults of a real one
 * (cut, stall, slowness) at will.
 */
import { AppError } from '../../src/core/errors.ts';
import type { SiteName } from '../../src/core/ids.ts';
import type { Exchange, PeerLink } from '../../src/core/ports.ts';

const ROOM_BYTES = 512 * 1024;

interface Faults {
  /** No new exchange is reached; open ones are broken by cut(). */
  down: boolean;
  /** Opens are never answered and no byte moves. */
  stalled: boolean;
  /** Milliseconds that each piece takes to be read. */
  pieceDelayMs: number;
}

interface Pipe {
  push(bytes: Uint8Array): Promise<void>;
  end(): void;
  fail(error: Error): void;
  readonly source: AsyncIterable<Uint8Array>;
  readonly finished: Promise<void>;
}

function createPipe(faults: Faults): Pipe {
  const queue: Uint8Array[] = [];
  const finished = Promise.withResolvers<void>();
  let queued = 0;
  let ended = false;
  let failure: Error | null = null;
  let changed = Promise.withResolvers<void>();
  const change = () => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  async function* read() {
    for (;;) {
      if (failure) throw failure;
      if (faults.stalled) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      const next = queue.shift();
      if (next) {
        if (faults.pieceDelayMs > 0)
          await new Promise((resolve) => setTimeout(resolve, faults.pieceDelayMs));
        queued -= next.length;
        change();
        yield next;
        continue;
      }
      if (ended) break;
      await changed.promise;
    }
    finished.resolve();
  }
  const check = () => {
    if (failure) throw failure;
  };
  return {
    async push(bytes) {
      check();
      queue.push(bytes);
      queued += bytes.length;
      change();
      while (queued > ROOM_BYTES && !failure) await changed.promise;
      check();
    },
    end() {
      ended = true;
      change();
    },
    fail(error) {
      failure ??= error;
      finished.resolve();
      change();
    },
    source: read(),
    finished: finished.promise,
  };
}

function createExchangePair(header: unknown, faults: Faults, all: Set<() => void>) {
  const there = createPipe(faults);
  const back = createPipe(faults);
  const closed = Promise.all([there.finished, back.finished]).then(() => undefined);
  const abort = (reason: string) => {
    const error = new AppError('peer-unreachable', `The exchange was broken: ${reason}`);
    there.fail(error);
    back.fail(error);
  };
  const breakIt = () => abort('cut');
  all.add(breakIt);
  closed.then(() => all.delete(breakIt)).catch(() => undefined);
  const side = (out: Pipe, incoming: Pipe): Exchange => ({
    header: JSON.parse(JSON.stringify(header)),
    send: (bytes) => out.push(bytes.slice()),
    end: async () => out.end(),
    incoming: incoming.source,
    abort,
    closed,
  });
  return { opener: side(there, back), acceptor: side(back, there) };
}

export interface LoopbackPair {
  readonly a: PeerLink;
  readonly b: PeerLink;
  /** Breaks what runs and refuses what comes, until mend(). */
  cut(): void;
  mend(): void;
  stall(on: boolean): void;
  slow(pieceDelayMs: number): void;
  /** Exchanges opened so far, by purpose. */
  readonly opened: ReadonlyMap<string, number>;
}

export function createLoopbackPair(): LoopbackPair {
  const faults: Faults = { down: false, stalled: false, pieceDelayMs: 0 };
  const running = new Set<() => void>();
  const opened = new Map<string, number>();
  const handlers = { a: new Map(), b: new Map() } as Record<
    'a' | 'b',
    Map<string, (exchange: Exchange, signal: AbortSignal) => Promise<void>>
  >;
  const answers = { a: new Map(), b: new Map() } as Record<
    'a' | 'b',
    Map<string, (body: unknown, signal: AbortSignal) => Promise<unknown>>
  >;
  const reach = async (timeoutMs: number, signal?: AbortSignal) => {
    if (faults.down) throw new AppError('peer-unreachable', 'The link is cut.');
    const until = performance.now() + timeoutMs;
    while (faults.stalled) {
      if (signal?.aborted || performance.now() > until)
        throw new AppError('peer-timeout', 'The peer did not answer.');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const end = (me: 'a' | 'b', other: 'a' | 'b'): PeerLink => ({
    peerSite: other as SiteName,
    async open(purpose, header, { timeoutMs, signal }) {
      await reach(timeoutMs, signal);
      const handler = handlers[other].get(purpose);
      if (!handler) throw new AppError('peer-refused', `No handler for ${purpose}.`);
      opened.set(purpose, (opened.get(purpose) ?? 0) + 1);
      const pair = createExchangePair(header, faults, running);
      handler(pair.acceptor, new AbortController().signal).catch((error: unknown) =>
        pair.acceptor.abort(String(error)),
      );
      return pair.opener;
    },
    async request(method, body, { timeoutMs, signal }) {
      await reach(timeoutMs, signal);
      const handler = answers[other].get(method);
      if (!handler) throw new AppError('peer-refused', `No answer for ${method}.`);
      const copy = JSON.parse(JSON.stringify(body));
      return JSON.parse(JSON.stringify(await handler(copy, new AbortController().signal)));
    },
    serve: (purpose, handler) => {
      handlers[me].set(purpose, handler);
    },
    answer: (method, handler) => {
      answers[me].set(method, handler);
    },
    lastHeardMs: () => performance.now(),
  });
  return {
    a: end('a', 'b'),
    b: end('b', 'a'),
    cut() {
      faults.down = true;
      for (const breakIt of [...running]) breakIt();
    },
    mend: () => {
      faults.down = false;
    },
    stall: (on) => {
      faults.stalled = on;
    },
    slow: (pieceDelayMs) => {
      faults.pieceDelayMs = pieceDelayMs;
    },
    opened,
  };
}
