/**
 * The brake on mass deletion: within any window only so many deletions (and overwrites of old files)
 * pass by themselves; what exceeds that is held for a person.
 */

export const BRAKE_WINDOW_MS = 60_000;
const ITEM_MS = 1_000;
/** An overwrite counts when the file it replaces is older than this. */
export const OLD_FILE_MS = 24 * 3_600_000;

export interface BrakeLimits {
  readonly count: number;
  /** Of the live entries in the store. */
  readonly percent: number;
}

/** What passed lately: times (monotonic ms) with counts, oldest first. */
export type BrakeWindow = readonly { readonly atMs: number; readonly count: number }[];

export function allowance(limits: BrakeLimits, entries: number): number {
  return Math.max(limits.count, Math.floor((entries * limits.percent) / 100));
}

/**
 * How many of `wanted` removals may pass now, and the window after they did. `entries` is the number
 * of live entries before them; what was removed within the window is counted back in, so that the
 * allowance does not shrink while it is used.
 */
export function admitRemovals(
  window: BrakeWindow,
  nowMs: number,
  wanted: number,
  entries: number,
  limits: BrakeLimits,
): { readonly admitted: number; readonly window: BrakeWindow } {
  const recent = window.filter((passed) => nowMs - passed.atMs < BRAKE_WINDOW_MS);
  const used = recent.reduce((sum, passed) => sum + passed.count, 0);
  const free = Math.max(0, allowance(limits, entries + used) - used);
  const admitted = Math.min(wanted, free);
  return { admitted, window: admitted > 0 ? added(recent, nowMs, admitted) : recent };
}

/** Removals of one second share an item, so that the window stays short. */
function added(recent: BrakeWindow, nowMs: number, count: number): BrakeWindow {
  const last = recent.at(-1);
  return last && nowMs - last.atMs < ITEM_MS
    ? [...recent.slice(0, -1), { atMs: last.atMs, count: last.count + count }]
    : [...recent, { atMs: nowMs, count }];
}
