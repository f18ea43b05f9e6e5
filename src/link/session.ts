/** One run of the link's service: the listener, all lanes, and their care. */
import type { TLSSocket } from 'node:tls';
import { AppError } from '../core/errors.ts';
import type { Hello } from '../core/hello.ts';
import type { PairIdentity } from '../core/identity.ts';
import type { Alarms, Clock, Log, Metrics } from '../core/ports.ts';
import { createDialer, type PeerAddress } from './dialer.ts';
import { checkExpiry } from './expiry.ts';
import type { FailureLog } from './failure-log.ts';
import { REFUSE, WELCOME } from './frames.ts';
import type { HandshakeContext, LinkError } from './handshake.ts';
import { Lane } from './lane.ts';
import { LanePool } from './lane-pool.ts';
import type { LaneServer } from './lane-server.ts';
import {
  EXPIRY_CHECK_MS,
  LANE_DEAD_MS,
  LANE_PING_MS,
  LANE_TICK_MS,
  MAX_ACCEPTED_LANES,
  STOP_GRACE_MS,
} from './limits.ts';
import { type ListenAddress, startListener } from './listener.ts';
import { openPeerMemory } from './peer-memory.ts';

export interface LinkSessionOptions {
  readonly identity: PairIdentity;
  readonly own: Hello;
  readonly target: PeerAddress;
  readonly listen: ListenAddress;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly alarms: Alarms;
  readonly failures: FailureLog;
  readonly laneServer: LaneServer;
  /** Authenticated bytes came. */
  readonly onHeard: () => void;
  readonly onHello: (hello: Hello) => void;
  readonly signal: AbortSignal;
}

export interface LinkSession {
  readonly address: ListenAddress;
  readonly pool: LanePool;
  /** Looks after the lanes until the signal aborts. */
  tend(): Promise<void>;
  /** Cuts everything; resolves when every handle is freed and handlers ended, or their grace is over. */
  close(): Promise<void>;
}

/** Every lane of this run, known or not; and the traffic on them. */
function createLaneBook(options: LinkSessionOptions) {
  const { clock, metrics } = options;
  const lanes = new Set<Lane>();
  const accepted = new Set<Lane>();
  const bytes = { in: 0, out: 0 };
  let tendedMs = clock.monotonicMs();
  let onLost: (lane: Lane) => void = () => undefined;
  return {
    lanes,
    accepted,
    whenLost(listener: (lane: Lane) => void) {
      onLost = listener;
    },
    adopt(socket: TLSSocket, address: string): Lane {
      const lane = new Lane({
        socket,
        address,
        clock,
        onHeard: (count) => {
          bytes.in += count;
          options.onHeard();
        },
        onSent: (count) => {
          bytes.out += count;
        },
        onLost: (lost, error) => {
          accepted.delete(lost);
          if (lost.peerInstance !== null)
            options.log.debug('link.lane-over', { address, reason: error.message });
          onLost(lost);
        },
      });
      lanes.add(lane);
      void lane.closed.then(() => lanes.delete(lane));
      return lane;
    },
    /** A new start of the peer was met: what an older one still holds is dead, or a copy's. */
    keepOnly(instanceId: string) {
      for (const lane of lanes)
        if (lane.peerInstance !== null && lane.peerInstance !== instanceId)
          lane.destroy('the peer was started anew');
    },
    /** Pings silent lanes and cuts dead ones. */
    tend() {
      const now = clock.monotonicMs();
      // This process itself was stopped for a while: what the peer sent is still unread.
      const overslept = now - tendedMs > LANE_PING_MS;
      tendedMs = now;
      for (const lane of lanes) {
        if (lane.peerInstance === null) continue;
        if (overslept) lane.lastHeardMs = now;
        if (!lane.isPaused && now - lane.lastHeardMs > LANE_DEAD_MS)
          lane.destroy('silent too long');
        else if (now - lane.lastSentMs > LANE_PING_MS) lane.ping();
      }
    },
    report(pool: LanePool) {
      const { idle, busy, waiting } = pool.counts;
      const help = 'Connections with the peer.';
      metrics.gauge('link_lanes', help, idle, { state: 'idle' });
      metrics.gauge('link_lanes', help, busy, { state: 'busy' });
      metrics.gauge('link_lanes', help, accepted.size, { state: 'accepted' });
      metrics.gauge('link_waiting', 'Openers that wait for a connection.', waiting);
      for (const direction of ['in', 'out'] as const) {
        metrics.count('link_bytes_total', 'Bytes over the link.', { direction }, bytes[direction]);
        bytes[direction] = 0;
      }
    },
  };
}

type LaneBook = ReturnType<typeof createLaneBook>;

function createPool(
  options: LinkSessionOptions,
  context: HandshakeContext,
  book: LaneBook,
): LanePool {
  const { failures, signal, own } = options;
  const dialer = createDialer({
    address: options.target,
    context,
    log: options.log,
    adopt: (socket, address) => book.adopt(socket, address),
  });
  const dial = async (): Promise<Lane> => {
    try {
      const lane = await dialer.dial(signal);
      failures.connected('outbound', lane.address, lane.peerVersion);
      return lane;
    } catch (error) {
      const known = error as LinkError;
      if (!signal.aborted)
        failures.failed('outbound', dialer.address.text, known.reason, known.message);
      throw new AppError(
        known.code,
        `Site ${options.identity.peer} cannot be reached from ${own.site} at ${dialer.address.text}: ${known.message}`,
        { cause: error },
      );
    }
  };
  return new LanePool({ clock: options.clock, dial });
}

function listenerFor(options: LinkSessionOptions, context: HandshakeContext, book: LaneBook) {
  const { failures, laneServer, signal } = options;
  return startListener({
    listen: options.listen,
    context,
    signal,
    adopt: (socket, address) => book.adopt(socket, address),
    onLane(lane, hello, ip) {
      if (book.accepted.size >= MAX_ACCEPTED_LANES) {
        const text = `site ${hello.site} holds ${MAX_ACCEPTED_LANES} connections already`;
        failures.failed('inbound', ip, 'busy', text);
        lane.sayAndDestroy(REFUSE, 'busy', text);
        return;
      }
      book.accepted.add(lane);
      // Before the welcome: the peer may open an exchange as soon as it has it.
      laneServer.attach(lane);
      lane.write(WELCOME).catch(() => undefined);
      failures.connected('inbound', ip, hello.version);
    },
    onFailure(ip, error) {
      if (!signal.aborted) failures.failed('inbound', ip, error.reason, error.message);
    },
  });
}

/** Starts to listen. Throws AppError `port-in-use`, `no-permission` or `config`. */
export async function openLinkSession(options: LinkSessionOptions): Promise<LinkSession> {
  const { identity, clock, signal, laneServer } = options;
  const book = createLaneBook(options);
  const context: HandshakeContext = {
    identity,
    own: options.own,
    memory: await openPeerMemory(options.dataDir, identity.pairId, options.log),
    clock,
    onAdmitted(hello) {
      book.keepOnly(hello.instanceId);
      options.onHello(hello);
    },
  };
  const pool = createPool(options, context, book);
  book.whenLost((lane) => pool.forget(lane));
  const listener = await listenerFor(options, context, book);

  return {
    address: listener.address,
    pool,
    async tend() {
      let expiryAtMs = Number.NEGATIVE_INFINITY;
      while (!signal.aborted) {
        const now = clock.monotonicMs();
        if (now - expiryAtMs >= EXPIRY_CHECK_MS) {
          checkExpiry(identity, clock.wallMs(), options.metrics, options.alarms);
          expiryAtMs = now;
        }
        book.tend();
        pool.tick();
        book.report(pool);
        await clock.sleep(LANE_TICK_MS, signal);
      }
    },
    async close() {
      pool.stop(new AppError('peer-unreachable', 'The link to the peer was stopped.'));
      const lanes = [...book.lanes];
      for (const lane of lanes) lane.destroy('the link was stopped');
      await listener.close();
      await Promise.all(lanes.map((lane) => lane.closed));
      const grace = new AbortController();
      const settled = laneServer.settled().then(() => grace.abort());
      await Promise.race([settled, clock.sleep(STOP_GRACE_MS, grace.signal)]);
    },
  };
}
