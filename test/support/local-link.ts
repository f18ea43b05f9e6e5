/**
 * Two PeerLinks in one process over loopback sockets: real back-pressure, real closes, and faults at
 * will. Each exchange is a connection of its own; frames are (type, length, payload).
 */
import net from 'node:net';
import { ERROR_CODES, type ErrorCode } from '../../src/core/error-codes.ts';
import { AppError, describeError } from '../../src/core/errors.ts';
import type { SiteName } from '../../src/core/ids.ts';
import type { Exchange, ExchangeOptions, PeerLink } from '../../src/core/ports.ts';

const FRAME = { header: 1, bytes: 2, end: 3 } as const;
const FRAME_HEADER_BYTES = 5;

type Handler = Parameters<PeerLink['serve']>[1];
type Answerer = Parameters<PeerLink['answer']>[1];

export interface LocalLinkPair {
  readonly a: PeerLink;
  readonly b: PeerLink;
  /** Breaks every exchange and refuses new ones until mend(). */
  cut(): void;
  mend(): void;
  /** Breaks what runs now, new exchanges work at once. */
  reset(): void;
  /** No byte moves any more, nothing is closed; until thaw(). */
  freeze(): void;
  thaw(): void;
  /** Exchanges opened so far, by purpose. */
  readonly opened: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

interface Wire {
  isCut: boolean;
  isFrozen: boolean;
  readonly sockets: Set<net.Socket>;
  readonly opened: Map<string, number>;
  readonly thawed: Set<() => void>;
}

function frame(type: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(FRAME_HEADER_BYTES);
  head.writeUInt8(type, 0);
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

async function* frames(socket: net.Socket, wire: Wire) {
  let buffer: Buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    while (wire.isFrozen) {
      await new Promise<void>((resolve) => {
        wire.thawed.add(resolve);
        socket.once('close', () => resolve());
      });
      if (socket.destroyed) throw new Error('closed while frozen');
    }
    buffer = buffer.length === 0 ? (chunk as Buffer) : Buffer.concat([buffer, chunk as Buffer]);
    while (buffer.length >= FRAME_HEADER_BYTES) {
      const length = buffer.readUInt32BE(1);
      if (buffer.length < FRAME_HEADER_BYTES + length) break;
      const payload = buffer.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length);
      yield { type: buffer.readUInt8(0), payload };
      buffer = buffer.subarray(FRAME_HEADER_BYTES + length);
    }
  }
}

function broken(why: string): AppError {
  return new AppError('peer-unreachable', why);
}

function exchangeOver(
  socket: net.Socket,
  header: unknown,
  incomingFrames: AsyncGenerator<{ type: number; payload: Buffer }>,
): Exchange {
  const closed = Promise.withResolvers<void>();
  let endedHere = false;
  let endedThere = false;
  let failure: AppError | null = null;
  const settle = () => {
    if (endedHere && endedThere) {
      socket.end();
      closed.resolve();
    }
  };
  socket.on('error', () => undefined);
  socket.on('close', () => {
    if (!(endedHere && endedThere)) failure ??= broken('the link broke');
    closed.resolve();
  });
  const write = async (bytes: Buffer) => {
    if (failure !== null || socket.destroyed) throw failure ?? broken('the link broke');
    if (socket.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.on('drain', done);
      socket.on('close', done);
    });
    if (failure !== null) throw failure as AppError;
  };
  async function* incoming() {
    try {
      for await (const { type, payload } of incomingFrames) {
        if (type === FRAME.end) {
          endedThere = true;
          settle();
          return;
        }
        yield payload as Uint8Array;
      }
    } catch (error) {
      throw failure ?? broken(describeError(error));
    }
    if (!endedThere) throw failure ?? broken('the link broke');
  }
  return {
    header,
    send: (bytes) => write(frame(FRAME.bytes, bytes)),
    async end() {
      if (endedHere) return;
      endedHere = true;
      await write(frame(FRAME.end, new Uint8Array(0)));
      settle();
    },
    incoming: incoming(),
    abort(reason) {
      failure ??= broken(reason);
      socket.destroy();
      closed.resolve();
    },
    closed: closed.promise,
  };
}

async function readAll(incoming: AsyncIterable<Uint8Array>): Promise<unknown> {
  const parts: Uint8Array[] = [];
  for await (const part of incoming) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString('utf8'));
}

function createEnd(peerSite: SiteName, wire: Wire) {
  const handlers = new Map<string, Handler>();
  const answerers = new Map<string, Answerer>();
  let lastHeardMs: number | null = null;
  let port = 0;
  const stopping = new AbortController();

  handlers.set('rpc', async (exchange, signal) => {
    const { method, body } = exchange.header as { method: string; body: unknown };
    let answer: unknown;
    try {
      const answerer = answerers.get(method);
      if (!answerer) throw new AppError('peer-refused', `no such method: ${method}`);
      answer = { ok: await answerer(body, signal) };
    } catch (error) {
      const code = error instanceof AppError ? error.code : 'internal';
      answer = { error: { code, detail: describeError(error) } };
    }
    await exchange.send(Buffer.from(JSON.stringify(answer)));
    await exchange.end();
    await readAll(exchange.incoming).catch(() => undefined);
  });

  const track = (socket: net.Socket) => {
    wire.sockets.add(socket);
    socket.on('close', () => wire.sockets.delete(socket));
    socket.on('error', () => undefined);
    return socket;
  };
  const accept = async (socket: net.Socket) => {
    track(socket);
    if (wire.isCut) return void socket.destroy();
    try {
      const incoming = frames(socket, wire);
      const first = await incoming.next();
      if (first.done === true) return;
      lastHeardMs = performance.now();
      const { purpose, header } = JSON.parse(first.value.payload.toString('utf8')) as {
        purpose: string;
        header: unknown;
      };
      const handler = handlers.get(purpose);
      if (!handler) return void socket.destroy();
      const exchange = exchangeOver(socket, header, incoming);
      socket.write(frame(FRAME.header, new Uint8Array(0)));
      await handler(exchange, stopping.signal);
    } catch {
      socket.destroy();
    }
  };
  const server = net.createServer((socket) => void accept(socket));

  const connect = (options: ExchangeOptions) => {
    const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
    if (wire.isCut) reject(broken('the link is cut'));
    else {
      const socket = track(net.connect(port, '127.0.0.1'));
      socket.setNoDelay(true);
      socket.once('connect', () => resolve(socket));
      socket.once('close', () => reject(broken('the link broke')));
      options.signal?.addEventListener('abort', () => socket.destroy(), { once: true });
    }
    return promise;
  };
  const deadline = async <T>(options: ExchangeOptions, work: Promise<T>, late: () => void) => {
    const timer = Promise.withResolvers<never>();
    const id = setTimeout(() => {
      late();
      timer.reject(new AppError('peer-timeout', `no answer in ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    try {
      return await Promise.race([work, timer.promise]);
    } finally {
      clearTimeout(id);
    }
  };

  const open: PeerLink['open'] = async (purpose, header, options) => {
    wire.opened.set(purpose, (wire.opened.get(purpose) ?? 0) + 1);
    let socket: net.Socket | null = null;
    const work = async () => {
      socket = await connect(options);
      const incoming = frames(socket, wire);
      socket.write(frame(FRAME.header, Buffer.from(JSON.stringify({ purpose, header }))));
      const first = await incoming.next();
      if (first.done === true) throw broken('the link broke');
      lastHeardMs = performance.now();
      return exchangeOver(socket, header, incoming);
    };
    const working = work();
    working.catch(() => undefined);
    return deadline(options, working, () => socket?.destroy());
  };
  const link: PeerLink = {
    peerSite,
    open,
    async request(method, body, options) {
      const exchange = await open('rpc', { method, body }, options);
      const work = async () => {
        await exchange.end();
        return (await readAll(exchange.incoming)) as {
          ok?: unknown;
          error?: { code: ErrorCode; detail: string };
        };
      };
      const answer = await deadline(options, work(), () => exchange.abort('late'));
      lastHeardMs = performance.now();
      if (answer.error) {
        const code = answer.error.code in ERROR_CODES ? answer.error.code : 'internal';
        throw new AppError(code, answer.error.detail);
      }
      return answer.ok;
    },
    serve: (purpose, handler) => void handlers.set(purpose, handler),
    answer: (method, handler) => void answerers.set(method, handler),
    lastHeardMs: () => lastHeardMs,
  };
  return {
    link,
    listen: () =>
      new Promise<number>((resolve) => {
        server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port));
      }),
    dial: (to: number) => {
      port = to;
    },
    close: () => {
      stopping.abort();
      server.close();
    },
  };
}

/** Two linked ends: `a` is site a's link to b. */
export async function openLocalLinks(siteA: SiteName, siteB: SiteName): Promise<LocalLinkPair> {
  const wire: Wire = {
    isCut: false,
    isFrozen: false,
    sockets: new Set(),
    opened: new Map(),
    thawed: new Set(),
  };
  const a = createEnd(siteB, wire);
  const b = createEnd(siteA, wire);
  a.dial(await b.listen());
  b.dial(await a.listen());
  const reset = () => {
    for (const socket of wire.sockets) socket.destroy();
  };
  const thaw = () => {
    wire.isFrozen = false;
    for (const wake of wire.thawed) wake();
    wire.thawed.clear();
  };
  return {
    a: a.link,
    b: b.link,
    cut() {
      wire.isCut = true;
      reset();
    },
    mend() {
      wire.isCut = false;
    },
    reset,
    freeze() {
      wire.isFrozen = true;
    },
    thaw,
    opened: wire.opened,
    async close() {
      thaw();
      a.close();
      b.close();
      reset();
    },
  };
}
