/** Listens for the peer: bounds strangers, introduces them, hands known lanes on. */
import type net from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import type { Hello } from '../core/hello.ts';
import { type HandshakeContext, introduce, LinkError } from './handshake.ts';
import type { Lane } from './lane.ts';
import { HELLO_TIMEOUT_MS, MAX_STRANGERS } from './limits.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface ListenerOptions {
  readonly listen: ListenAddress;
  readonly context: HandshakeContext;
  /** The service's; its abort ends hellos under way. */
  readonly signal: AbortSignal;
  readonly adopt: (socket: TLSSocket, address: string) => Lane;
  readonly onLane: (lane: Lane, hello: Hello, ip: string) => void;
  readonly onFailure: (ip: string, error: LinkError) => void;
}

export interface Listener {
  readonly address: ListenAddress;
  /** Resolves when the port is free; lanes are the caller's to destroy first. */
  close(): Promise<void>;
}

function listenError(error: unknown, listen: ListenAddress): AppError {
  const code = systemCode(error);
  const where = `${listen.host}:${listen.port} (--peer-listen)`;
  if (code === 'EADDRINUSE')
    return new AppError(
      'port-in-use',
      `Something else listens on ${where}. Stop it, or choose another --peer-listen.`,
    );
  if (code === 'EACCES' || code === 'EPERM')
    return new AppError(
      'no-permission',
      `This user may not listen on ${where}. Choose a port above 1023 for --peer-listen.`,
    );
  return new AppError(
    'config',
    `Cannot listen on ${where}: ${describeError(error)}. Correct --peer-listen.`,
  );
}

function handshakeError(error: unknown): LinkError {
  const code = systemCode(error) ?? '';
  const make = (reason: string, text: string) =>
    new LinkError('peer-refused', reason, text, { cause: error });
  if (code === 'ECONNRESET')
    return make('reset', 'the other end hung up before it showed a certificate');
  if (code === 'ERR_TLS_HANDSHAKE_TIMEOUT')
    return make('timeout', 'the other end connected and said nothing');
  if (code === 'ERR_SSL_HTTP_REQUEST') return make('tls', 'the other end speaks plain HTTP here');
  return make('tls', `the TLS handshake failed (${code || describeError(error)})`);
}

function listenOn(server: Server, listen: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(listenError(error, listen));
    server.once('error', failed);
    server.listen(listen.port, listen.host, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

/** Starts to listen. Throws AppError `port-in-use`, `no-permission` or `config`. */
export async function startListener(options: ListenerOptions): Promise<Listener> {
  const { context, onFailure } = options;
  const { identity } = context;
  const open = new Set<net.Socket>();
  /** Connected, and not yet known to be the peer. */
  const strangers = new Set<net.Socket>();

  const welcome = async (socket: TLSSocket) => {
    // Read before anything else: a closed socket forgets it.
    const ip = socket.remoteAddress ?? 'unknown';
    const lane = options.adopt(socket, ip);
    try {
      const hello = await introduce(lane, socket, 'listener', context, options.signal);
      strangers.delete(socket);
      options.onLane(lane, hello, ip);
    } catch (error) {
      onFailure(ip, error as LinkError);
    }
  };

  const server = createServer({
    key: identity.tlsKey,
    cert: identity.tlsCertificate,
    ca: [...identity.caCertificates],
    requestCert: true,
    // handshake.ts judges the certificate, so that the other end can be told what is wrong with it.
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
    handshakeTimeout: HELLO_TIMEOUT_MS,
  });
  server.on('connection', (socket: net.Socket) => {
    if (strangers.size >= MAX_STRANGERS) {
      const ip = socket.remoteAddress ?? 'unknown';
      onFailure(ip, new LinkError('peer-refused', 'busy', 'too many unknown connections at once'));
      socket.destroy();
      return;
    }
    open.add(socket);
    strangers.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      strangers.delete(socket);
    });
  });
  server.on('secureConnection', (socket) => void welcome(socket));
  server.on('tlsClientError', (error, socket) => {
    onFailure(socket.remoteAddress ?? 'unknown', handshakeError(error));
    socket.destroy();
  });
  await listenOn(server, options.listen);
  server.on('error', () => undefined);
  const bound = server.address() as net.AddressInfo;
  return {
    address: { host: bound.address, port: bound.port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}
