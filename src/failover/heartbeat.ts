/**
 * Heartbeats: each side dials one exchange and takes the other's; on every one of them both sides send
 * a beat each interval, so that one working direction of dialing is enough. The verdict on the peer is
 * made here, beside the loop whose own lateness it must know.
 */
import { randomBytes } from 'node:crypto';
import { AppError, describeError } from '../core/errors.ts';
import type { SiteName } from '../core/ids.ts';
import {
  judgePeer,
  judgeStart,
  type Liveness,
  type LivenessPolicy,
  noteHeartbeat,
  noteTick,
  silentMs,
  startLiveness,
} from '../core/liveness.ts';
import type { Alarms, Clock, Exchange, Log, PeerLink, PeerVerdict } from '../core/ports.ts';
import type { Service } from '../core/service.ts';
import type { Timers } from '../core/timers.ts';
import { PROTOCOL, VERSION } from '../core/version.ts';
import { type Beat, type BeatContent, encodeLine, lines, parseBeat } from './beat.ts';
import { RoundTrips } from './round-trips.ts';

const PURPOSE = 'heartbeat';
/** Our own tick later than this: we were paused and know nothing. */
const LATE_AFTER_MS = 1_000;
const FRESH_ROUND_TRIPS = 3;
const DIAL_TIMEOUT_MS = 2_000;
/** The peer's exchanges taken at once: the present one and the one that replaces it. */
const ACCEPTED_MAX = 2;
const SKEW_ALARM_MS = 1_000;
/** A copy that was not heard of for this long is gone. */
const CLONE_GONE_MS = 60_000;

export interface HeartbeatOptions {
  readonly site: SiteName;
  readonly peer: SiteName;
  readonly link: PeerLink;
  readonly timers: Timers;
  /** This process's start counter. */
  readonly start: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly compose: () => BeatContent;
  /** After every beat and every verdict. */
  readonly onNews: () => void;
}

interface Lane {
  readonly exchange: Exchange;
  sending: boolean;
  /** The run whose beats it carried; null before the first. */
  run: string | null;
}

export class Heartbeat {
  readonly service: Service;
  private readonly options: HeartbeatOptions;
  private readonly policy: LivenessPolicy;
  private readonly run: string;
  private readonly accepted: Lane[] = [];
  private dialed: Lane | null = null;
  private running = false;
  private liveness: Liveness;
  private currentVerdict: PeerVerdict = 'unknown';
  private seq = 0;
  private readonly trips = new RoundTrips();
  private peerSeq: number | null = null;
  private peerSeqAtMs = 0;
  private peerStart: { start: number; run: string } | null = null;
  private latest: Beat | null = null;
  private refusedAtMs: number | null = null;
  private cloneAtMs: number | null = null;

  constructor(options: HeartbeatOptions) {
    this.options = options;
    this.policy = {
      suspectAfterMs: options.timers.suspectAfterMs,
      lostAfterMs: options.timers.lostAfterMs,
      lateAfterMs: LATE_AFTER_MS,
      freshRoundTrips: FRESH_ROUND_TRIPS,
    };
    this.run = randomBytes(8).toString('hex');
    this.liveness = startLiveness(options.clock.monotonicMs());
    options.link.serve(PURPOSE, (exchange, signal) => this.accept(exchange, signal));
    this.service = { name: 'heartbeat', run: (context) => this.loop(context) };
  }

  verdict(): PeerVerdict {
    return this.currentVerdict;
  }

  /** Milliseconds without a heartbeat or without a proof that ours are heard. */
  silentMs(): number {
    return silentMs(this.liveness, this.options.clock.monotonicMs());
  }

  /** The latest beat; null before the first. Old ones stay: ask the verdict how old. */
  beat(): Beat | null {
    return this.latest;
  }

  rttMs(): number | null {
    return this.trips.rttMs();
  }

  /** The peer's wall clock minus ours. */
  skewMs(): number | null {
    return this.trips.skewMs();
  }

  /** Milliseconds since anything authenticated came from the peer. */
  heardAgoMs(): number | null {
    const heard = Math.max(
      this.liveness.lastHeartbeatMs ?? Number.NEGATIVE_INFINITY,
      this.options.link.lastHeardMs() ?? Number.NEGATIVE_INFINITY,
    );
    return heard === Number.NEGATIVE_INFINITY
      ? null
      : Math.max(0, this.options.clock.monotonicMs() - heard);
  }

  /** The peer is there and takes this process for a copy: nothing may be concluded from its silence. */
  refused(): boolean {
    return this.refusedAtMs !== null;
  }

  /** Sends a beat now instead of at the next interval. */
  announce(): void {
    if (this.running) this.send();
  }

  private async loop(context: { signal: AbortSignal; ready: () => void }): Promise<void> {
    const { signal } = context;
    this.running = true;
    this.liveness = { ...this.liveness, lastTickMs: this.options.clock.monotonicMs() };
    const dialing = this.dialLoop(signal);
    try {
      context.ready();
      await this.tickLoop(signal);
    } finally {
      this.running = false;
      for (const lane of this.lanes()) lane.exchange.abort('stopping');
      await dialing;
    }
  }

  private async tickLoop(signal: AbortSignal): Promise<void> {
    const { clock, timers } = this.options;
    while (!signal.aborted) {
      const tickMs = clock.monotonicMs();
      const doubtBefore = this.liveness.windowStartMs;
      this.liveness = noteTick(this.liveness, tickMs, timers.heartbeatMs, this.policy);
      if (this.liveness.windowStartMs !== doubtBefore) this.pausedAt(this.liveness.ownLatenessMs);
      // Beats that wait in the queue are read before anything is concluded.
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.judge();
      this.forgetClone(tickMs);
      this.send();
      const spentMs = clock.monotonicMs() - tickMs;
      await clock.sleep(Math.max(1, timers.heartbeatMs - spentMs), signal);
    }
  }

  private forgetClone(nowMs: number): void {
    if (this.cloneAtMs === null || nowMs - this.cloneAtMs < CLONE_GONE_MS) return;
    this.cloneAtMs = null;
    this.options.alarms.clear('identity-clone');
  }

  private pausedAt(lateMs: number): void {
    this.trips.paused();
    this.options.log.warn('failover.was-paused', { lateMs: Math.round(lateMs) });
  }

  private judge(): void {
    const nowMs = this.options.clock.monotonicMs();
    const before = this.currentVerdict;
    this.currentVerdict = judgePeer(
      { ...this.liveness, nowMs, lastBytesMs: this.options.link.lastHeardMs() },
      this.policy,
    );
    if (before !== this.currentVerdict) {
      this.options.log.info('peer.verdict', {
        from: before,
        to: this.currentVerdict,
        silentMs: Math.round(this.silentMs()),
        heardAgoMs: this.heardAgoMs(),
      });
    }
    this.options.onNews();
  }

  private lanes(): readonly Lane[] {
    return this.dialed === null ? this.accepted : [...this.accepted, this.dialed];
  }

  private send(): void {
    const nowMs = this.options.clock.monotonicMs();
    this.seq += 1;
    this.trips.sent(this.seq, nowMs);
    const line = encodeLine({
      v: 1,
      site: this.options.site,
      start: this.options.start,
      run: this.run,
      seq: this.seq,
      heard: this.peerSeq,
      heldMs: this.peerSeq === null ? 0 : Math.max(0, nowMs - this.peerSeqAtMs),
      wallMs: this.options.clock.wallMs(),
      version: VERSION,
      protocol: PROTOCOL,
      ...this.options.compose(),
    });
    for (const lane of this.lanes()) this.sendOn(lane, line);
  }

  /** A beat that finds the one before still on its way is dropped: the next carries newer facts. */
  private sendOn(lane: Lane, line: Uint8Array): void {
    if (lane.sending) return;
    lane.sending = true;
    lane.exchange
      .send(line)
      .catch(() => undefined)
      .finally(() => {
        lane.sending = false;
      });
  }

  private async dialLoop(signal: AbortSignal): Promise<void> {
    const { link, clock, log, timers } = this.options;
    let told = '';
    while (!signal.aborted) {
      try {
        const exchange = await link.open(PURPOSE, {}, { signal, timeoutMs: DIAL_TIMEOUT_MS });
        told = '';
        const lane: Lane = { exchange, sending: false, run: null };
        this.dialed = lane;
        await this.read(lane, signal);
      } catch (error) {
        const text = describeError(error);
        if (text !== told && !signal.aborted) log.debug('heartbeat.not-dialed', { error: text });
        told = text;
      }
      this.dialed = null;
      await clock.sleep(Math.min(1_000, 2 * timers.heartbeatMs), signal);
    }
  }

  private async accept(exchange: Exchange, signal: AbortSignal): Promise<void> {
    if (!this.running) return exchange.abort('this site takes no heartbeats now');
    const lane: Lane = { exchange, sending: false, run: null };
    this.accepted.push(lane);
    while (this.accepted.length > ACCEPTED_MAX) {
      this.accepted.shift()?.exchange.abort('replaced by a newer exchange');
    }
    try {
      await this.read(lane, signal);
    } catch (error) {
      this.options.log.debug('heartbeat.broken', { error: describeError(error) });
    } finally {
      const at = this.accepted.indexOf(lane);
      if (at >= 0) this.accepted.splice(at, 1);
    }
  }

  /** Resolves at the peer's end; throws when the exchange breaks or what it carries is no heartbeat. */
  private async read(lane: Lane, signal: AbortSignal): Promise<void> {
    const stop = (): void => lane.exchange.abort('stopping');
    signal.addEventListener('abort', stop, { once: true });
    try {
      for await (const line of lines(lane.exchange.incoming)) {
        const incoming = parseBeat(line);
        if (incoming.kind === 'refused') this.refusedByPeer(incoming.reason);
        else await this.take(incoming.beat, lane);
      }
    } finally {
      signal.removeEventListener('abort', stop);
      lane.exchange.abort('done');
    }
  }

  private refusedByPeer(reason: string): never {
    const { alarms, clock, peer } = this.options;
    this.refusedAtMs = clock.monotonicMs();
    alarms.raise({
      code: 'peer-refused',
      severity: 'critical',
      text: `${peer} refuses the heartbeats of this process: ${reason}`,
      runbook: 'operations.md#peer-refused',
    });
    this.options.onNews();
    throw new AppError('peer-refused', reason);
  }

  private async take(beat: Beat, lane: Lane): Promise<void> {
    const { options } = this;
    const start = judgeStart(beat, this.peerStart);
    if (beat.site !== options.peer || !start.ok) {
      const reason = start.ok ? `site ${beat.site} is not ${options.peer}` : start.reason;
      // What an exchange of the peer's run before this one still carried is no copy's.
      if (lane.run === beat.run) throw new AppError('peer-refused', 'an earlier run of the peer');
      await this.refuse(beat, lane, reason);
    }
    lane.run = beat.run;
    if (beat.run !== this.peerStart?.run) {
      // A new run of the peer counts from one again.
      this.peerSeq = null;
      this.trips.peerRestarted();
      this.peerStart = { start: beat.start, run: beat.run };
    }
    // The same beat comes on every exchange; the first arrival counts.
    if (this.peerSeq !== null && beat.seq <= this.peerSeq) return;
    const nowMs = options.clock.monotonicMs();
    this.peerSeq = beat.seq;
    this.peerSeqAtMs = nowMs;
    if (this.refusedAtMs !== null) {
      this.refusedAtMs = null;
      options.alarms.clear('peer-refused');
    }
    const roundTrip = this.trips.heard(beat, nowMs, options.clock.wallMs());
    this.judgeSkew();
    this.liveness = noteHeartbeat(this.liveness, nowMs, roundTrip, this.policy);
    this.latest = beat;
    this.judge();
  }

  private async refuse(beat: Beat, lane: Lane, reason: string): Promise<never> {
    this.cloneAtMs = this.options.clock.monotonicMs();
    this.options.alarms.raise({
      code: 'identity-clone',
      severity: 'critical',
      text: `A second process claims to be site ${beat.site}: ${reason}`,
      runbook: 'operations.md#identity-clone',
    });
    await lane.exchange.send(encodeLine({ refused: reason }));
    await lane.exchange.end();
    throw new AppError('peer-refused', reason);
  }

  private judgeSkew(): void {
    const { alarms, peer } = this.options;
    const skewMs = this.trips.skewMs();
    if (skewMs === null) return;
    if (Math.abs(skewMs) < SKEW_ALARM_MS) {
      alarms.clear('clock-skew');
      return;
    }
    alarms.raise({
      code: 'clock-skew',
      severity: 'warning',
      text: `The clock of ${peer} differs from this one by ${(skewMs / 1000).toFixed(1)} s: run chrony or ntpd at both sites`,
      runbook: 'operations.md#clock-skew',
    });
  }
}
