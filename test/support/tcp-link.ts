/**
 * A PeerLink over plain loopback TCP, one connection per exchange: works within one process and
 * between two. Without TLS and without lanes: for tests of what uses links, not of the link.
 */
import net from 'node:net';
import { ERROR_CODES, type ErrorCode } from '../../src/core/error-codes.ts';
import { AppError, describeError } from '../../src/core/errors.ts';
import type { SiteName } from '../../src/core/ids.ts';
import type { Exchange, ExchangeOptions, PeerLink } from '../../src/core/ports.ts';

export interface TcpLink {
  readonly link: PeerLink;
  readonly port: number;
  /** Where the peer listens; may change. */
  dial(port: number): void;
  /** Breaks what runs and refuses everything, both ways, until mend(). */
  cut(): void;
  mend(): void;
  /** Bytes of contents and answers received. */
  received(): number;
  /** Exchanges opened here, by purpose. */
  readonly opened: ReadonlyMap<string, number>;
  close(): void;
}

const HEAD = 5;
const KIND = { header: 1, bytes: 2, end: 3 } as const;

function frame(kind: number, payload: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(HEAD + payload.length);
  out.writeUInt8(kind, 0);
  out.writeUInt32BE(payload.length, 1);
  out.set(payload, HEAD);
  return out;
}

/** Frames of a socket by hand, so that an early end of reading does not destroy it. */
class Reader {
  readonly #socket: net.Socket;
  readonly #queue: { kind: number; payload: Buffer }[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #wake: () => void = () => undefined;
  #closed = false;

  constructor(socket: net.Socket, onBytes: (count: number) => void) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      onBytes(chunk.length);
      this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
      while (this.#rest.length >= HEAD) {
        const length = this.#rest.readUInt32BE(1);
        if (this.#rest.length < HEAD + length) break;
        this.#queue.push({
          kind: this.#rest.readUInt8(0),
          payload: this.#rest.subarray(HEAD, HEAD + length),
        });
        this.#rest = this.#rest.subarray(HEAD + length);
      }
      if (this.#queue.length > 8) socket.pause();
      this.#wake();
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  async next(): Promise<{ kind: number; payload: Buffer } | null> {
    for (;;) {
      const first = this.#queue.shift();
      if (first) return first;
      if (this.#closed) return null;
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function exchangeOver(socket: net.Socket, reader: Reader, header: unknown): Exchange {
  const closed = Promise.withResolvers<void>();
  let failure: AppError | null = null;
  let ended = false;
  let peerEnded = false;
  const settle = () => {
    if (ended && peerEnded) {
      socket.end();
      closed.resolve();
    }
  };
  socket.on('close', () => {
    failure ??= new AppError('peer-unreachable', 'the connection broke');
    closed.resolve();
  });
  const write = async (bytes: Buffer) => {
    if (socket.destroyed) throw failure ?? new AppError('peer-unreachable', 'the connection broke');
    if (socket.write(bytes)) return;
    await new Promise<void>((resolve) => {
      socket.once('drain', resolve);
      socket.once('close', resolve);
    });
  };
  async function* incoming() {
    for (;;) {
      const next = await reader.next();
      if (!next) throw failure ?? new AppError('peer-unreachable', 'the connection broke');
      if (next.kind === KIND.end) {
        peerEnded = true;
        settle();
        return;
      }
      yield next.payload as Uint8Array;
    }
  }
  return {
    header,
    send: (bytes) => write(frame(KIND.bytes, bytes)),
    async end() {
      if (ended) return;
      ended = true;
      await write(frame(KIND.end, new Uint8Array(0)));
      settle();
    },
    incoming: incoming(),
    abort(reason) {
      failure ??= new AppError('peer-unreachable', reason);
      socket.destroy();
      closed.resolve();
    },
    closed: closed.promise,
  };
}

async function readJson(exchange: Exchange): Promise<unknown> {
  const parts: Uint8Array[] = [];
  for await (const part of exchange.incoming) parts.push(Buffer.from(part));
  return JSON.parse(Buffer.concat(parts).toString());
}

/** Listens on `port` (0: any) and dials wherever dial() says. */
export async function openTcpLink(peerSite: SiteName, port = 0): Promise<TcpLink> {
  const handlers = new Map<string, Parameters<PeerLink['serve']>[1]>();
  const answerers = new Map<string, Parameters<PeerLink['answer']>[1]>();
  const sockets = new Set<net.Socket>();
  const opened = new Map<string, number>();
  const stopping = new AbortController();
  let peerPort = 0;
  let isCut = false;
  let bytes = 0;
  let lastHeardMs: number | null = null;

  const track = (socket: net.Socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    return new Reader(socket, (count) => {
      bytes += count;
      lastHeardMs = performance.now();
    });
  };
  handlers.set('rpc', async (exchange, signal) => {
    const { method } = exchange.header as { method: string };
    let answer: unknown;
    try {
      const body = await readJson(exchange);
      const answerer = answerers.get(method);
      if (!answerer) throw new AppError('peer-refused', `no such method: ${method}`);
      answer = { ok: await answerer(body, signal) };
    } catch (error) {
      const code = error instanceof AppError ? error.code : 'internal';
      answer = { error: { code, detail: describeError(error) } };
    }
    await exchange.send(Buffer.from(JSON.stringify(answer)));
    await exchange.end();
  });
  const accept = async (socket: net.Socket) => {
    const reader = track(socket);
    const first = isCut ? null : await reader.next();
    const { purpose, header } = first
      ? (JSON.parse(first.payload.toString()) as { purpose: string; header: unknown })
      : { purpose: '', header: null };
    const handler = handlers.get(purpose);
    if (!handler) return void socket.destroy();
    socket.write(frame(KIND.header, new Uint8Array(0)));
    await handler(exchangeOver(socket, reader, header), stopping.signal);
  };
  const server = net.createServer((socket) => {
    accept(socket).catch(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));

  const open = async (purpose: string, header: unknown, options: ExchangeOptions) => {
    if (isCut || options.signal?.aborted) throw new AppError('peer-unreachable', 'the link is cut');
    opened.set(purpose, (opened.get(purpose) ?? 0) + 1);
    const socket = net.connect(peerPort, '127.0.0.1');
    const reader = track(socket);
    const timer = setTimeout(() => socket.destroy(), options.timeoutMs);
    socket.write(frame(KIND.header, Buffer.from(JSON.stringify({ purpose, header }))));
    const accepted = await reader.next();
    clearTimeout(timer);
    if (!accepted) throw new AppError('peer-unreachable', 'the peer cannot be reached');
    return exchangeOver(socket, reader, header);
  };
  const link: PeerLink = {
    peerSite,
    open,
    async request(method, body, options) {
      const exchange = await open('rpc', { method }, options);
      const timer = setTimeout(() => exchange.abort('late'), options.timeoutMs);
      const onAbort = () => exchange.abort('stopping');
      options.signal?.addEventListener('abort', onAbort, { once: true });
      try {
        await exchange.send(Buffer.from(JSON.stringify(body)));
        await exchange.end();
        const answer = (await readJson(exchange)) as {
          ok?: unknown;
          error?: { code: ErrorCode; detail: string };
        };
        if (!answer.error) return answer.ok;
        const code = answer.error.code in ERROR_CODES ? answer.error.code : 'internal';
        throw new AppError(code, answer.error.detail);
      } finally {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
      }
    },
    serve: (purpose, handler) => void handlers.set(purpose, handler),
    answer: (method, handler) => void answerers.set(method, handler),
    lastHeardMs: () => lastHeardMs,
  };
  const reset = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    link,
    port: (server.address() as net.AddressInfo).port,
    dial: (to) => {
      peerPort = to;
    },
    cut() {
      isCut = true;
      reset();
    },
    mend() {
      isCut = false;
    },
    received: () => bytes,
    opened,
    close() {
      stopping.abort();
      server.close();
      reset();
    },
  };
}
