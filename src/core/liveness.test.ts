import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  judgePeer,
  judgeStart,
  type Liveness,
  noteHeartbeat,
  noteTick,
  type PeerObservation,
  silentMs,
  startLiveness,
} from './liveness.ts';
import type { PeerVerdict } from './ports.ts';

const policy = { suspectAfterMs: 750, lostAfterMs: 6_000, lateAfterMs: 1_000, freshRoundTrips: 3 };
const seen: PeerObservation = {
  nowMs: 100_000,
  windowStartMs: 0,
  lastHeartbeatMs: 100_000,
  lastRoundTripMs: 100_000,
  lastBytesMs: 100_000,
  roundTripsSincePause: null,
  ownLatenessMs: 0,
};

describe('the verdict', () => {
  const cases: readonly [string, Partial<PeerObservation>, PeerVerdict][] = [
    ['fresh heartbeats', {}, 'alive'],
    ['at the edge of suspicion', { lastHeartbeatMs: 99_251 }, 'alive'],
    ['no heartbeat, other bytes', { lastHeartbeatMs: 90_000 }, 'suspect'],
    ['D3: no heartbeat for an hour, other bytes', { lastHeartbeatMs: 1 }, 'suspect'],
    ['heard, but it does not hear us', { lastRoundTripMs: 99_000 }, 'suspect'],
    ['nothing for lost-after', { lastHeartbeatMs: 94_000, lastBytesMs: 94_000 }, 'lost'],
    ['nothing, one ms less', { lastHeartbeatMs: 94_001, lastBytesMs: 94_001 }, 'suspect'],
    [
      'nothing, and we were late',
      { lastHeartbeatMs: 0, lastBytesMs: 0, ownLatenessMs: 1_001 },
      'unknown',
    ],
    [
      'after a pause, two round trips',
      { windowStartMs: 99_900, roundTripsSincePause: 2 },
      'unknown',
    ],
    ['after a pause, three', { windowStartMs: 99_900, roundTripsSincePause: 3 }, 'alive'],
    [
      'after a pause, silence for a whole window',
      { windowStartMs: 94_000, lastHeartbeatMs: 0, lastBytesMs: 0, roundTripsSincePause: 0 },
      'lost',
    ],
    ['never heard', { windowStartMs: 99_000, lastHeartbeatMs: null, lastBytesMs: null }, 'unknown'],
    ['never heard for long', { lastHeartbeatMs: null, lastBytesMs: null }, 'lost'],
    ['only other bytes so far', { lastHeartbeatMs: null }, 'suspect'],
  ];
  for (const [name, change, verdict] of cases) {
    test(`${name}: ${verdict}`, () => {
      expect(judgePeer({ ...seen, ...change }, policy)).toBe(verdict);
    });
  }
});

/** Steps of a site's life: time passes, then a tick, a beat or other bytes. */
const step = fc.record({
  passMs: fc.oneof(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 0, max: 20_000 })),
  what: fc.constantFrom('tick', 'beat', 'round trip', 'bytes'),
});

test('late self never says lost, and nobody who was heard in the window is lost', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      let nowMs = 1_000;
      let state: Liveness = startLiveness(nowMs);
      let lastBytesMs: number | null = null;
      let lateAtMs = Number.NEGATIVE_INFINITY;
      let lastSignMs = Number.NEGATIVE_INFINITY;
      for (const { passMs, what } of steps) {
        nowMs += passMs;
        if (what === 'bytes') lastBytesMs = nowMs;
        if (what === 'beat' || what === 'round trip') {
          state = noteHeartbeat(state, nowMs, what === 'round trip', policy);
        }
        if (what !== 'tick') lastSignMs = nowMs;
        // A verdict is only ever made after a tick, as the heartbeat loop does.
        state = noteTick(state, nowMs, 250, policy);
        if (state.ownLatenessMs > policy.lateAfterMs) lateAtMs = nowMs;
        const verdict = judgePeer({ ...state, nowMs, lastBytesMs }, policy);
        if (verdict === 'lost') {
          expect(nowMs - lateAtMs).toBeGreaterThanOrEqual(policy.lostAfterMs);
          expect(nowMs - lastSignMs).toBeGreaterThanOrEqual(policy.lostAfterMs);
        }
        if (verdict === 'alive') expect(nowMs - lastSignMs).toBeLessThan(policy.suspectAfterMs);
      }
    }),
  );
});

test('a peer that died during our pause is lost one whole window after it', () => {
  let state = noteHeartbeat(startLiveness(0), 0, true, policy);
  state = noteTick(state, 30_000, 250, policy);
  expect(judgePeer({ ...state, nowMs: 30_000, lastBytesMs: 0 }, policy)).toBe('unknown');
  for (let nowMs = 30_250; nowMs <= 36_000; nowMs += 250) {
    state = noteTick(state, nowMs, 250, policy);
    const verdict = judgePeer({ ...state, nowMs, lastBytesMs: 0 }, policy);
    expect(verdict).toBe(nowMs < 36_000 ? 'unknown' : 'lost');
  }
});

test('silence counts from the older of heartbeat and round trip, never from before the window', () => {
  let state = noteHeartbeat(startLiveness(0), 100, true, policy);
  state = noteHeartbeat(state, 900, false, policy);
  expect(silentMs(state, 1_000)).toBe(900);
  expect(silentMs({ ...state, windowStartMs: 950 }, 1_000)).toBe(50);
});

describe('D8: two machines with one identity', () => {
  const known = { start: 10, run: 'x' };
  test('a later start is believed, the same run too', () => {
    expect(judgeStart({ start: 11, run: 'y' }, known).ok).toBe(true);
    expect(judgeStart(known, known).ok).toBe(true);
    expect(judgeStart({ start: 10, run: 'y' }, { start: 10, run: null }).ok).toBe(true);
    expect(judgeStart({ start: 1, run: 'y' }, null).ok).toBe(true);
  });
  test('an earlier or doubled one is not', () => {
    expect(judgeStart({ start: 9, run: 'y' }, known).ok).toBe(false);
    expect(judgeStart({ start: 10, run: 'y' }, known).ok).toBe(false);
  });
});
