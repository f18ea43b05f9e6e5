/** What acknowledged heartbeats measure: the round trip, and the difference of the two wall clocks. */
import type { Beat } from './beat.ts';

/** Sending times kept; an older acknowledgement measures nothing. */
const SENT_KEPT = 64;

export class RoundTrips {
  private readonly sentAtMs: number[] = [];
  private newestSeq = 0;
  private ackedSeq = 0;
  private pausedSeq = 0;
  private rtt: number | null = null;
  private skew: number | null = null;

  rttMs(): number | null {
    return this.rtt;
  }

  /** The peer's wall clock minus ours. */
  skewMs(): number | null {
    return this.skew;
  }

  sent(seq: number, nowMs: number): void {
    this.newestSeq = seq;
    this.sentAtMs[seq % SENT_KEPT] = nowMs;
  }

  /** We were paused: what was sent before proves nothing about now. */
  paused(): void {
    this.pausedSeq = this.newestSeq;
  }

  /** Another run of the peer answers from now on. */
  peerRestarted(): void {
    this.ackedSeq = 0;
  }

  /** True when the beat proves that the peer heard one of ours since our own last pause. */
  heard(beat: Beat, nowMs: number, wallMs: number): boolean {
    const { heard } = beat;
    if (heard === null || heard <= this.ackedSeq || heard > this.newestSeq) return false;
    this.ackedSeq = heard;
    if (this.newestSeq - heard < SENT_KEPT) {
      const sentAtMs = this.sentAtMs[heard % SENT_KEPT] ?? nowMs;
      this.rtt = Math.max(0, nowMs - sentAtMs - beat.heldMs);
      this.skew = beat.wallMs + this.rtt / 2 - wallMs;
    }
    return heard > this.pausedSeq;
  }
}
