/**
 * Is the peer there? A verdict from what was heard and when, on the monotonic clock. With two sites a
 * dead peer and a cut link look the same, and our own pause looks like both: whoever was late himself
 * knows nothing until fresh round trips, or a whole window of silence that he was awake for.
 */
import type { PeerVerdict } from './ports.ts';

export interface LivenessPolicy {
  readonly suspectAfterMs: number;
  readonly lostAfterMs: number;
  /** Our own tick later than this: we were paused. */
  readonly lateAfterMs: number;
  /** Round trips that end the doubt after a pause. */
  readonly freshRoundTrips: number;
}

export interface PeerObservation {
  readonly nowMs: number;
  /** When the window of judgement began: our start, or the end of our own last pause. */
  readonly windowStartMs: number;
  readonly lastHeartbeatMs: number | null;
  /** When the peer last proved that it hears us. */
  readonly lastRoundTripMs: number | null;
  /** Any authenticated bytes, on any connection. */
  readonly lastBytesMs: number | null;
  /** Completed since our own last pause; null when there was none or the doubt is over. */
  readonly roundTripsSincePause: number | null;
  /** How late our own last tick was. */
  readonly ownLatenessMs: number;
}

/** The verdict. Never `lost` while we were late ourselves or while anything was heard in the window. */
export function judgePeer(seen: PeerObservation, policy: LivenessPolicy): PeerVerdict {
  if (seen.ownLatenessMs > policy.lateAfterMs) return 'unknown';
  const lastSignMs = Math.max(
    seen.windowStartMs,
    seen.lastHeartbeatMs ?? Number.NEGATIVE_INFINITY,
    seen.lastBytesMs ?? Number.NEGATIVE_INFINITY,
  );
  if (seen.nowMs - lastSignMs >= policy.lostAfterMs) return 'lost';
  if (seen.roundTripsSincePause !== null) {
    if (seen.roundTripsSincePause < policy.freshRoundTrips) return 'unknown';
  }
  if (seen.lastHeartbeatMs === null) return seen.lastBytesMs === null ? 'unknown' : 'suspect';
  const heardUsMs = seen.lastRoundTripMs ?? Number.NEGATIVE_INFINITY;
  const oldestMs = Math.min(seen.lastHeartbeatMs, heardUsMs);
  return seen.nowMs - oldestMs < policy.suspectAfterMs ? 'alive' : 'suspect';
}

/** What a site keeps between ticks. */
export interface Liveness {
  readonly windowStartMs: number;
  readonly lastTickMs: number;
  readonly ownLatenessMs: number;
  readonly lastHeartbeatMs: number | null;
  readonly lastRoundTripMs: number | null;
  readonly roundTripsSincePause: number | null;
}

export function startLiveness(nowMs: number): Liveness {
  return {
    windowStartMs: nowMs,
    lastTickMs: nowMs,
    ownLatenessMs: 0,
    lastHeartbeatMs: null,
    lastRoundTripMs: null,
    roundTripsSincePause: null,
  };
}

/** Our own loop turned. A tick that is late by more than the bound restarts the window and the doubt. */
export function noteTick(
  state: Liveness,
  nowMs: number,
  intervalMs: number,
  policy: LivenessPolicy,
): Liveness {
  const ownLatenessMs = Math.max(0, nowMs - state.lastTickMs - intervalMs);
  if (ownLatenessMs <= policy.lateAfterMs) return { ...state, lastTickMs: nowMs, ownLatenessMs };
  return {
    ...state,
    lastTickMs: nowMs,
    ownLatenessMs,
    windowStartMs: nowMs,
    roundTripsSincePause: 0,
  };
}

/** A heartbeat came. `roundTrip`: it proves that the peer heard a beat that we sent since our last pause. */
export function noteHeartbeat(
  state: Liveness,
  nowMs: number,
  roundTrip: boolean,
  policy: LivenessPolicy,
): Liveness {
  const lastRoundTripMs = roundTrip ? nowMs : state.lastRoundTripMs;
  if (!roundTrip || state.roundTripsSincePause === null) {
    return { ...state, lastHeartbeatMs: nowMs, lastRoundTripMs };
  }
  const done = state.roundTripsSincePause + 1;
  return {
    ...state,
    lastHeartbeatMs: nowMs,
    lastRoundTripMs,
    roundTripsSincePause: done >= policy.freshRoundTrips ? null : done,
  };
}

/** Milliseconds without a heartbeat or without a round trip, whichever is longer, since the window began. */
export function silentMs(state: Liveness, nowMs: number): number {
  const bothWaysMs = Math.min(
    state.lastHeartbeatMs ?? Number.NEGATIVE_INFINITY,
    state.lastRoundTripMs ?? Number.NEGATIVE_INFINITY,
  );
  return nowMs - Math.max(state.windowStartMs, bothWaysMs);
}

export type StartVerdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/**
 * Two machines with one identity (a cloned host) must not both be the peer. Every start has a higher
 * counter than the one before; of one counter only one run is believed.
 */
export function judgeStart(
  claimed: { readonly start: number; readonly run: string },
  known: { readonly start: number; readonly run: string | null } | null,
): StartVerdict {
  if (known === null || claimed.start > known.start) return { ok: true };
  if (claimed.start < known.start) {
    return {
      ok: false,
      reason: `its start counter ${claimed.start} is below ${known.start}, which this identity already had: an older copy of the site runs, or its --data was restored`,
    };
  }
  if (known.run !== null && known.run !== claimed.run) {
    return {
      ok: false,
      reason: `two processes run with this identity and one start counter (${claimed.start}): a cloned host`,
    };
  }
  return { ok: true };
}
