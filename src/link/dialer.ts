/** Makes one authenticated lane to the peer: name → addresses → TLS → hellos. */
import { lookup } from 'node:dns/promises';
import { connect, type TLSSocket } from 'node:tls';
import { describeError, systemCode } from '../core/errors.ts';
import { PEER_PORT } from '../core/pair-spec.ts';
import type { Log } from '../core/ports.ts';
import { orAborted, startDeadline } from './deadline.ts';
import { type HandshakeContext, introduce, LinkError } from './handshake.ts';
import type { Lane } from './lane.ts';
import { DIAL_TIMEOUT_MS, MIN_ADDRESS_MS } from './limits.ts';

export interface PeerAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
  /** As in a URL. */
  readonly text: string;
}

/** The parts of `https://host:port`; the default port is 7443, not 443. */
export function parsePeerUrl(text: string): PeerAddress | null {
  const url = URL.parse(text);
  if (url?.protocol !== 'https:' || url.hostname === '') return null;
  const explicit = /:(\d+)\/?$/.exec(text)?.[1];
  const port = explicit === undefined ? PEER_PORT : Number(explicit);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, port, text: `${url.hostname}:${port}` };
}

export interface Dialer {
  readonly address: PeerAddress;
  /** Resolves with a lane that nobody owns yet; rejects with LinkError. Bounded by DIAL_TIMEOUT_MS. */
  dial(signal: AbortSignal): Promise<Lane>;
}

export interface DialerOptions {
  readonly address: PeerAddress;
  readonly context: HandshakeContext;
  readonly log: Log;
  readonly adopt: (socket: TLSSocket, address: string) => Lane;
}

function connectError(error: unknown): LinkError {
  const code = systemCode(error) ?? '';
  const make = (reason: string, text: string) =>
    new LinkError(reason === 'timeout' ? 'peer-timeout' : 'peer-unreachable', reason, text, {
      cause: error,
    });
  if (error instanceof LinkError) return error;
  if (code === 'ECONNREFUSED')
    return make('refused', 'connection refused: nothing listens there, or a firewall rejects it');
  if (code === 'ETIMEDOUT')
    return make('timeout', 'no answer: the host is down or a firewall drops the connection');
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH')
    return make('no-route', `no route to the host (${code})`);
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return make('reset', 'the other end hung up during the TLS handshake');
  if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS'))
    return make('tls', `TLS failed: no Twinsite peer listens there (${code})`);
  return make('connect', describeError(error));
}

async function connectTls(
  ip: string,
  port: number,
  context: HandshakeContext,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const { identity } = context;
  const socket = connect({
    host: ip,
    port,
    key: identity.tlsKey,
    cert: identity.tlsCertificate,
    ca: [...identity.caCertificates],
    minVersion: 'TLSv1.3',
    // The peer is known by pair and site name, not by host name: handshake.ts judges its certificate.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  });
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const cut = () => socket.destroy();
  signal.addEventListener('abort', cut, { once: true });
  const failed = (error: Error) => reject(error);
  const closed = () =>
    reject(
      signal.aborted
        ? new LinkError(
            'peer-timeout',
            'timeout',
            'no answer: the host is down or a firewall drops the connection',
          )
        : new LinkError('peer-unreachable', 'reset', 'the other end hung up'),
    );
  socket.once('error', failed);
  socket.once('close', closed);
  socket.once('secureConnect', () => resolve(socket));
  try {
    await promise;
    return socket;
  } catch (error) {
    // Errors that follow the first one have nobody to go to.
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener('abort', cut);
    socket.off('error', failed);
    socket.off('close', closed);
  }
}

async function resolveHost(
  options: DialerOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { address, context, log } = options;
  try {
    const found = await orAborted(lookup(address.host, { all: true }), signal);
    if (found.length === 0) throw new Error('no address');
    return [...new Set(found.map((entry) => entry.address))];
  } catch (error) {
    const ip = context.memory.lastGoodIp(address.host);
    const why = signal.aborted ? 'no answer in time' : (systemCode(error) ?? describeError(error));
    log.debug('link.resolver-failed', { host: address.host, error: why, lastGoodIp: ip });
    if (ip) return [ip];
    throw new LinkError(
      'peer-unreachable',
      'dns',
      `the name ${address.host} cannot be resolved (${why}), and no earlier address is known`,
    );
  }
}

export function createDialer(options: DialerOptions): Dialer {
  const { address, context } = options;

  const tryAddress = async (ip: string, limitMs: number, outer: AbortSignal): Promise<Lane> => {
    const deadline = startDeadline(context.clock, limitMs, outer, 'The connection');
    try {
      const socket = await connectTls(ip, address.port, context, deadline.signal);
      const where = ip === address.host ? address.text : `${address.text} (${ip})`;
      const lane = options.adopt(socket, where);
      await introduce(lane, socket, 'dialer', context, deadline.signal);
      return lane;
    } catch (error) {
      throw connectError(error);
    } finally {
      deadline.done();
    }
  };
  return {
    address,
    async dial(outer) {
      const started = context.clock.monotonicMs();
      // Half of the time for the resolver: a dead one must leave room for the last good address.
      const naming = startDeadline(context.clock, DIAL_TIMEOUT_MS / 2, outer, 'The name');
      const addresses = await resolveHost(options, naming.signal).finally(() => naming.done());
      let failure: LinkError | null = null;
      for (const [index, ip] of addresses.entries()) {
        if (outer.aborted) break;
        const remaining = DIAL_TIMEOUT_MS - (context.clock.monotonicMs() - started);
        const share = Math.max(MIN_ADDRESS_MS, remaining / (addresses.length - index));
        try {
          const lane = await tryAddress(ip, share, outer);
          // A convenience for later: whether it was written changes nothing now.
          await context.memory.rememberIp(address.host, ip).catch(() => undefined);
          return lane;
        } catch (error) {
          failure = error as LinkError;
        }
      }
      throw failure ?? new LinkError('peer-unreachable', 'stopped', 'the link was stopped');
    },
  };
}
