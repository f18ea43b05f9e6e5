import { expect, test } from 'bun:test';
import { admitRemovals, allowance, BRAKE_WINDOW_MS, type BrakeWindow } from './mass-delete.ts';

const LIMITS = { count: 100, percent: 10 };

test.each([
  [0, 100],
  [500, 100],
  [1_000, 100],
  [20_000, 2_000],
])('of %d entries %d may go', (entries, allowed) => {
  expect(allowance(LIMITS, entries)).toBe(allowed);
});

test('what exceeds the allowance within the window is not admitted, and passes again after it', () => {
  let window: BrakeWindow = [];
  let entries = 2_000;
  const remove = (atMs: number, wanted: number) => {
    const result = admitRemovals(window, atMs, wanted, entries, LIMITS);
    window = result.window;
    entries -= result.admitted;
    return result.admitted;
  };
  expect(remove(0, 150)).toBe(150);
  expect(remove(10_000, 100)).toBe(50);
  expect(remove(20_000, 1)).toBe(0);
  expect(remove(BRAKE_WINDOW_MS + 1, 150)).toBe(135);
});

test('the window stays short however often it is asked', () => {
  let window: BrakeWindow = [];
  for (let i = 0; i < 10_000; i += 1) {
    window = admitRemovals(window, i * 5, 1, 1_000_000, LIMITS).window;
  }
  expect(window.length).toBeLessThanOrEqual(61);
});
