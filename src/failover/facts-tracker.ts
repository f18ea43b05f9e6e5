/** For how long what has been so: the facts of the state machine that need a memory. */
import type { Clock, PeerVerdict, SiteState } from '../core/ports.ts';
import type { SiteFacts } from '../core/site-machine.ts';
import type { Timers } from '../core/timers.ts';

export interface Sample {
  readonly hasPeer: boolean;
  readonly partsUp: boolean;
  readonly storeUsable: boolean;
  readonly drainRequested: boolean;
  readonly verdict: PeerVerdict;
  readonly silentMs: number;
  readonly higherEpochMet: boolean;
  readonly holdsElsewhere: boolean;
  readonly mayTakeOver: boolean;
  /** The peer says that its own store cannot be used. */
  readonly peerStoreFailed: boolean;
  /** Both sites say that replication streams both ways. */
  readonly streaming: boolean;
}

export class FactsTracker {
  private readonly clock: Clock;
  private readonly timers: Timers;
  private readonly startedMs: number;
  private served = false;
  private goodSinceMs: number | null = null;
  private streamsDownSinceMs: number | null = null;
  private peerStoreFailedSinceMs: number | null = null;
  private pairedSinceMs: number | null = null;

  constructor(clock: Clock, timers: Timers) {
    this.clock = clock;
    this.timers = timers;
    this.startedMs = clock.monotonicMs();
  }

  hasServed(): boolean {
    return this.served;
  }

  /** From now on the site may serve without meeting its peer first. */
  serve(): void {
    this.served = true;
  }

  pairedForMs(): number {
    return this.pairedSinceMs === null ? 0 : this.clock.monotonicMs() - this.pairedSinceMs;
  }

  noteState(from: SiteState, to: SiteState): void {
    if (to === 'paired') this.pairedSinceMs = this.clock.monotonicMs();
    else if (from === 'paired') this.pairedSinceMs = null;
  }

  facts(sample: Sample): SiteFacts {
    const nowMs = this.clock.monotonicMs();
    const since = (holds: boolean, before: number | null): number | null =>
      holds ? (before ?? nowMs) : null;
    const alive = sample.verdict === 'alive';
    const streaming = sample.streaming && !sample.peerStoreFailed;
    this.goodSinceMs = since(alive && streaming, this.goodSinceMs);
    this.streamsDownSinceMs = since(alive && !streaming, this.streamsDownSinceMs);
    this.peerStoreFailedSinceMs = since(
      alive && sample.peerStoreFailed,
      this.peerStoreFailedSinceMs,
    );
    const lasting = (sinceMs: number | null): number => (sinceMs === null ? 0 : nowMs - sinceMs);
    return {
      hasPeer: sample.hasPeer,
      partsUp: sample.partsUp,
      storeUsable: sample.storeUsable,
      served: this.served,
      drainRequested: sample.drainRequested,
      verdict: sample.verdict,
      silentMs: sample.silentMs,
      higherEpochMet: sample.higherEpochMet,
      holdsElsewhere: sample.holdsElsewhere,
      mayTakeOver: sample.mayTakeOver,
      peerStoreFailedMs: lasting(this.peerStoreFailedSinceMs),
      streamsDownMs: lasting(this.streamsDownSinceMs),
      goodForMs: this.goodSinceMs === null ? null : nowMs - this.goodSinceMs,
      // Only the first pairing after a start needs no proof of lasting. The hold does not grow with
      // repeated losses: what a receipt says rests on attestations, and what moves the holder on loss.
      rearmHoldMs: this.served ? this.timers.rearmAfterMs : 0,
      sinceStartMs: nowMs - this.startedMs,
      timers: this.timers,
    };
  }
}
