/** What the parts of the file engine share. */

import type { SiteName } from '../../../core/ids.ts';
import type { IgnoreRules } from '../../../core/ignore.ts';
import type { Stamp } from '../../../core/manifest.ts';
import {
  admitRemovals,
  type BrakeLimits,
  type BrakeWindow,
  OLD_FILE_MS,
} from '../../../core/mass-delete.ts';
import type { Alarms, Clock, Log, Metrics, OwnStore } from '../../../core/ports.ts';
import { writerKey } from '../../../core/version-vector.ts';
import type { Waker } from '../deposits/waker.ts';
import type { FileIndex } from '../index/file-index.ts';
import type { Candidates } from './candidates.ts';
import type { Flusher } from './flusher.ts';
import type { PathLocks } from './path-locks.ts';

/** The epoch as a writer stamps it. */
export interface WriterEpoch {
  readonly number: number;
  readonly site: SiteName;
  readonly holderBit: boolean;
}

/** What is counted and shown; each number is written by one part. */
export interface EngineFigures {
  healedMissing: number;
  lastFullScanAt: string | null;
  lastRootMatchAt: string | null;
  /** A full scan without errors is complete since the store was last in doubt. */
  custody: boolean;
  /** The first scan of this run is over: incoming changes are applied from then on. */
  scanned: boolean;
  /** The peer tells everything it has, page by page: what is not told yet may still come. */
  listing: boolean;
  /** Ignore rules differ: nothing is sent or applied. */
  paused: boolean;
  /** Names that are no files: counted by the last full scan. */
  special: number;
  /** Items of the need list that fail again and again, and those of them that the peer told. */
  stuck: number;
  stuckTold: number;
  sync: { first: boolean; filesDone: number; bytesDone: number; startedAtMs: number };
}

export interface FilesContext {
  readonly store: OwnStore;
  readonly index: FileIndex;
  readonly site: SiteName;
  readonly writerEpoch: () => WriterEpoch;
  readonly settleMs: number;
  readonly ignore: IgnoreRules;
  readonly massDelete: BrakeLimits;
  /** Owners are kept by number. */
  readonly owners: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly alarms: Alarms;
  readonly locks: PathLocks;
  readonly flusher: Flusher;
  readonly candidates: Candidates;
  readonly figures: EngineFigures;
  /** Woken when the journal grew. */
  readonly journalGrew: Waker;
  /** Woken when there is something to apply. */
  readonly needGrew: readonly Waker[];
  /** Asks the watcher for a sign that every earlier event has arrived; false when it is not there. */
  barrier(signal: AbortSignal): Promise<boolean>;
  /** The brake's window; see admit. */
  brake: BrakeWindow;
}

/** The key of this site's component in version vectors. */
export function ownWriter(context: FilesContext): string {
  return writerKey(context.site, context.index.incarnation);
}

export function stampNow(context: FilesContext, seq: number): Stamp {
  const epoch = context.writerEpoch();
  return {
    epochNumber: epoch.number,
    epochSite: epoch.site,
    holder: epoch.holderBit,
    seq,
    site: context.site,
  };
}

/** How many of `wanted` deletions or old overwrites pass the brake now. */
export function admit(context: FilesContext, wanted: number): number {
  const result = admitRemovals(
    context.brake,
    context.clock.monotonicMs(),
    wanted,
    context.index.totals.entries,
    context.massDelete,
  );
  context.brake = result.window;
  return result.admitted;
}

/** The machine was restarted without a clean stop, and what that damaged is not all healed yet. */
export function isCacheLost(context: FilesContext): boolean {
  return context.index.meta.get('cache_lost') !== null;
}

export function isOldFile(context: FilesContext, mtimeNs: bigint): boolean {
  return context.clock.wallMs() - Number(mtimeNs / 1_000_000n) > OLD_FILE_MS;
}

/** Raises or clears the alarm after the held list changed. */
export function tellHeld(context: FilesContext): void {
  const count = context.index.held.count();
  if (count === 0) {
    context.alarms.clear('mass-delete');
    return;
  }
  context.alarms.raise({
    code: 'mass-delete',
    severity: 'critical',
    text: `${count} deletions or overwrites are held: more than --mass-delete allows in 60 s`,
    runbook: 'operations.md#mass-delete',
  });
}

export function wakeApply(context: FilesContext): void {
  for (const waker of context.needGrew) waker.wake();
}
