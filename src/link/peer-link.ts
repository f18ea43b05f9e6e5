/**
 * The link to the other site: lanes dialed for what this site opens, lanes accepted for what the peer
 * opens, and the purposes and methods that are served on them. At most once: an exchange that broke is
 * never repeated here, because its handler may have run.
 */
import { AppError, describeError } from '../core/errors.ts';
import { HELLO_MAGIC, type Hello } from '../core/hello.ts';
import type { PairIdentity } from '../core/identity.ts';
import type { Alarms, Clock, Log, Metrics, PeerLink } from '../core/ports.ts';
import type { Service, ServiceContext } from '../core/service.ts';
import { PROTOCOL, VERSION } from '../core/version.ts';
import { makeCertificateProof } from './certificate.ts';
import { parsePeerUrl } from './dialer.ts';
import { createFailureLog } from './failure-log.ts';
import { createLaneServer } from './lane-server.ts';
import type { ListenAddress } from './listener.ts';
import { createOpener } from './opener.ts';
import { createRpcServer, RPC_PURPOSE } from './rpc.ts';
import { type LinkSession, openLinkSession } from './session.ts';

export interface PeerLinkOptions {
  readonly identity: PairIdentity;
  /** `https://host:port`; overrides the identity's. */
  readonly peerUrl?: string;
  readonly listen: ListenAddress;
  readonly dataDir: string;
  /** From nextStartCounter. */
  readonly startCounter: number;
  /** Random for each process, at least 8 characters. */
  readonly instanceId: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly alarms: Alarms;
  /** For tests of what two releases say to each other. */
  readonly protocol?: number;
}

export interface PeerLinkParts {
  readonly link: PeerLink;
  readonly service: Service;
  /** Where it listens; null while it does not. */
  address(): ListenAddress | null;
  /** The version the peer told last; null before the first meeting. */
  peerVersion(): string | null;
  /** Why the peer could not be met, as last tried; null when all is well. */
  lastFailure(): string | null;
}

/**
 * Builds the link; nothing happens before `service` runs. Until then, and after it ended, `open` and
 * `request` reject with `peer-unreachable`. Throws AppError `config` for a bad peer address.
 */
export function createPeerLink(options: PeerLinkOptions): PeerLinkParts {
  const { identity, clock } = options;
  const peer = identity.peer;
  const log = options.log.child({ part: 'link' });
  const peerUrl = options.peerUrl ?? identity.peerUrl;
  const target = parsePeerUrl(peerUrl);
  if (!target)
    throw new AppError(
      'config',
      `The peer's address ${peerUrl} is not https://host:port (--peer).`,
    );
  const own: Hello = {
    magic: HELLO_MAGIC,
    protocol: options.protocol ?? PROTOCOL,
    version: VERSION,
    pairId: identity.pairId,
    site: identity.site,
    instanceId: options.instanceId,
    startCounter: options.startCounter,
    certificateProof: makeCertificateProof(identity),
  };
  const failures = createFailureLog({ log, clock, metrics: options.metrics, peer });
  const laneServer = createLaneServer({
    peer,
    log,
    onRefused: (lane, text) =>
      failures.failed('inbound', lane.address, 'refused-by-peer', `the other end refused: ${text}`),
  });
  const rpc = createRpcServer(log);
  laneServer.register(RPC_PURPOSE, (exchange, signal) => rpc.handle(exchange, signal));

  let session: LinkSession | null = null;
  let lastHeardMs: number | null = null;
  let peerVersion: string | null = null;

  const opener = createOpener({ peer, clock, pool: () => session?.pool ?? null });
  const link: PeerLink = {
    peerSite: peer,
    ...opener,
    serve: (purpose, handler) => laneServer.register(purpose, handler),
    answer: (method, handler) => rpc.answer(method, handler),
    lastHeardMs: () => lastHeardMs,
  };

  const run = async ({ signal, ready }: ServiceContext): Promise<void> => {
    const opened = await openLinkSession({
      ...options,
      log,
      own,
      target,
      failures,
      laneServer,
      onHeard: () => {
        lastHeardMs = clock.monotonicMs();
      },
      onHello: (hello) => {
        lastHeardMs = clock.monotonicMs();
        peerVersion = hello.version;
      },
      signal,
    });
    session = opened;
    try {
      log.info('link.listening', { ...opened.address, peer, dials: target.text });
      ready();
      await opened.tend();
    } finally {
      session = null;
      await opened.close().catch((error: unknown) => {
        log.error('link.close-failed', { error: describeError(error) });
      });
    }
  };

  return {
    link,
    service: { name: 'link', run },
    address: () => session?.address ?? null,
    peerVersion: () => peerVersion,
    lastFailure: () => failures.last(),
  };
}
