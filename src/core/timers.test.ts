import { describe, expect, test } from 'bun:test';
import { AppError } from './errors.ts';
import { checkTimers, DEFAULT_TIMERS, timerLawViolation } from './timers.ts';

describe('the timer law', () => {
  test('holds for the defaults', () => {
    expect(timerLawViolation(DEFAULT_TIMERS)).toBeNull();
    expect(checkTimers(DEFAULT_TIMERS)).toBe(DEFAULT_TIMERS);
  });

  for (const [change, ...named] of [
    [{ heartbeatMs: 251 }, '--suspect-after', '--heartbeat'],
    [{ suspectAfterMs: 1_500 }, '--degrade-after', '--suspect-after'],
    [{ degradeAfterMs: 2_001 }, '--degrade-after', 'WAL'],
    [{ lostAfterMs: 5_999 }, '--lost-after', 'WAL'],
    [{ lostAfterMs: 15_000 }, '--lost-after', 'watchdog'],
    [{ heartbeatMs: 0 }, '--heartbeat'],
    [{ rearmAfterMs: Number.NaN }, '--rearm-after'],
  ] as const) {
    test(`${JSON.stringify(change)} is refused and named`, () => {
      const timers = { ...DEFAULT_TIMERS, ...change };
      expect(() => checkTimers(timers)).toThrow(AppError);
      for (const name of named) expect(timerLawViolation(timers)).toContain(name);
    });
  }
});
