/**
 * An epoch says who holds: (number, site), compared in that order, so that two sites that both took
 * over while apart still agree on one holder when they meet. It is raised and fsynced before every
 * change of holder.
 */
import type { SiteName } from './ids.ts';

export interface Epoch {
  /** 0 only before the pair ever met. */
  readonly number: number;
  /** The holder under this epoch. */
  readonly site: SiteName;
}

/**
 * Negative when a is older than b. Of two epochs with one number the *smaller* site name is the
 * higher epoch: the holder of a tie is the first by name.
 */
export function compareEpochs(a: Epoch, b: Epoch): number {
  if (a.number !== b.number) return a.number - b.number;
  if (a.site === b.site) return 0;
  return a.site < b.site ? 1 : -1;
}

/** The higher of two epochs; null counts as older than any. */
export function higherEpoch(a: Epoch | null, b: Epoch | null): Epoch | null {
  if (a === null) return b;
  if (b === null) return a;
  return compareEpochs(a, b) >= 0 ? a : b;
}

/** The epoch under which `site` takes over. */
export function raisedEpoch(current: Epoch | null, site: SiteName): Epoch {
  return { number: (current?.number ?? 0) + 1, site };
}

/** `7a`-like text for logs and the status document: number, then holder. */
export function formatEpoch(epoch: Epoch): string {
  return `${epoch.number}.${epoch.site}`;
}
