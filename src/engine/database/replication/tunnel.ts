/**
 * The way of replication: a Unix socket that this site's PostgreSQL takes for its peer's, the link,
 * and at the other end a connection to PostgreSQL's own socket.
 */
import { promises as fs } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { AppError, describeError } from '../../../core/errors.ts';
import type { Clock, Exchange, Log, PeerLink } from '../../../core/ports.ts';
import type { DatabaseEndpoint } from '../connections.ts';
import { DATABASE, REPLICATION_ROLE, TUNNEL_PORT } from './names.ts';
import { relay } from './relay.ts';
import { errorResponse, readStartupPacket } from './startup-packet.ts';

const PURPOSE = 'postgres';
const MAX_SOCKET_PATH_BYTES = 107;
const OPEN_WITHIN_MS = 3_000;
const RETRY_OPEN_MS = 250;
/** More than a slot may wait for open transactions (see LOCK_TIMEOUT in the steps). */
const SILENCE_MS = 15_000;
/** An apply worker, table copies, a statement or two. */
const MAX_CONNECTIONS = 16;

export interface TunnelOptions {
  readonly directory: string;
  /** Who else may enter the directory; the user that PostgreSQL runs as, when this process is root. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly link: PeerLink;
  readonly clock: Clock;
  readonly log: Log;
}

/** The socket's path. Throws AppError `config` when it is too long for a socket. */
export function tunnelSocketPath(directory: string): string {
  const file = path.join(directory, `.s.PGSQL.${TUNNEL_PORT}`);
  if (Buffer.byteLength(file) > MAX_SOCKET_PATH_BYTES) {
    throw new AppError(
      'config',
      `The tunnel socket ${file} is longer than ${MAX_SOCKET_PATH_BYTES} bytes: give a shorter --tunnel-socket directory.`,
    );
  }
  return file;
}

async function prepareDirectory({ directory, owner }: TunnelOptions): Promise<void> {
  await fs.mkdir(directory, { recursive: true, mode: 0o700 });
  await fs.chmod(directory, 0o700);
  if (owner !== undefined) await fs.chown(directory, owner.uid, owner.gid);
}

/**
 * PostgreSQL would ask twice a second, and log each refusal, for as long as the peer is away: it is
 * kept waiting a little instead, and led on as soon as the link is back.
 */
async function openPatiently(
  { link, clock }: TunnelOptions,
  socket: net.Socket,
  signal: AbortSignal,
): Promise<Exchange> {
  const started = clock.monotonicMs();
  for (;;) {
    const leftMs = OPEN_WITHIN_MS - (clock.monotonicMs() - started);
    try {
      return await link.open(PURPOSE, {}, { timeoutMs: Math.max(1, leftMs), signal });
    } catch (error) {
      if (signal.aborted || socket.destroyed || leftMs <= RETRY_OPEN_MS) throw error;
      await clock.sleep(RETRY_OPEN_MS, signal);
    }
  }
}

async function carry(socket: net.Socket, options: TunnelOptions, signal: AbortSignal) {
  const { clock, log } = options;
  socket.on('error', (error) => log.debug('tunnel.socket', { error: describeError(error) }));
  try {
    const exchange = await openPatiently(options, socket, signal);
    await relay(socket, exchange, { signal, clock, silenceMs: SILENCE_MS });
  } catch (error) {
    log.debug('tunnel.refused', { error: describeError(error) });
    socket.end(errorResponse(`peer: ${describeError(error)}`));
    socket.destroySoon();
  }
}

/**
 * Serves the socket until the signal aborts; `listening` is called once PostgreSQL can connect.
 * Connections that come while the link is down are closed with the reason.
 */
export async function serveTunnelSocket(
  options: TunnelOptions,
  signal: AbortSignal,
  listening: () => void,
): Promise<void> {
  const file = tunnelSocketPath(options.directory);
  await prepareDirectory(options);
  // What a killed process left: nobody listens on it, the lock on --data says so.
  await fs.rm(file, { force: true });
  const running = new Set<Promise<void>>();
  const failed = Promise.withResolvers<never>();
  const server = net.createServer((socket) => {
    if (running.size >= MAX_CONNECTIONS) return void socket.destroy();
    const one = carry(socket, options, signal);
    running.add(one);
    void one.finally(() => running.delete(one));
  });
  server.on('error', failed.reject);
  failed.promise.catch(() => undefined);
  const stopped = Promise.withResolvers<void>();
  const stop = () => stopped.resolve();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const bound = Promise.withResolvers<void>();
    server.listen(file, () => bound.resolve());
    await Promise.race([bound.promise, failed.promise]);
    await fs.chmod(file, 0o600);
    if (options.owner !== undefined) await fs.chown(file, options.owner.uid, options.owner.gid);
    listening();
    if (!signal.aborted) await Promise.race([stopped.promise, failed.promise]);
  } finally {
    signal.removeEventListener('abort', stop);
    server.close();
    await Promise.all(running);
    await fs.rm(file, { force: true });
  }
}

function connectTo(file: string, signal: AbortSignal): Promise<net.Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
  const socket = net.connect(file);
  const stop = () => socket.destroy(new Error('stopping'));
  signal.addEventListener('abort', stop, { once: true });
  socket.once('connect', () => resolve(socket));
  socket.once('error', reject);
  return promise.finally(() => signal.removeEventListener('abort', stop));
}

/** Reads up to the startup packet; what was read is given back, to be sent on. */
async function admit(
  exchange: Exchange,
  incoming: AsyncIterator<Uint8Array>,
): Promise<{ readonly first: Uint8Array } | { readonly refused: string }> {
  let bytes: Uint8Array = new Uint8Array(0);
  for (;;) {
    const packet = readStartupPacket(bytes, { user: REPLICATION_ROLE, database: DATABASE });
    if (packet.kind === 'accepted') return { first: bytes };
    if (packet.kind === 'refused') return { refused: packet.why };
    if (packet.kind === 'encryption') {
      bytes = bytes.subarray(packet.bytes);
      await exchange.send(new TextEncoder().encode('N'));
      continue;
    }
    const next = await incoming.next();
    if (next.done === true) return { refused: 'nothing' };
    bytes = Buffer.concat([bytes, next.value]);
  }
}

/**
 * Takes the peer's replication connections and leads them to this site's PostgreSQL. Anything but the
 * replication role in its database is refused.
 */
export function acceptTunnel(options: {
  readonly link: PeerLink;
  readonly endpoint: DatabaseEndpoint;
  readonly clock: Clock;
  readonly log: Log;
}): void {
  const { link, endpoint, clock, log } = options;
  const file = path.join(endpoint.socketDirectory, `.s.PGSQL.${endpoint.port}`);
  link.serve(PURPOSE, async (exchange, signal) => {
    const incoming = exchange.incoming[Symbol.asyncIterator]();
    try {
      const admitted = await admit(exchange, incoming);
      if ('refused' in admitted) {
        log.warn('tunnel.refused', { why: admitted.refused });
        await exchange.send(errorResponse(`not through this tunnel: ${admitted.refused}`));
        await exchange.end();
        return;
      }
      const socket = await connectTo(file, signal);
      socket.on('error', (error) => log.debug('tunnel.socket', { error: describeError(error) }));
      socket.write(admitted.first);
      await relay(socket, exchange, { signal, clock, incoming, silenceMs: 0 });
    } catch (error) {
      log.debug('tunnel.ended', { error: describeError(error) });
      exchange.abort(describeError(error));
    }
  });
}
