/** The truth about the store: full scans at start, at intervals and on demand, and looks at candidates. */
import type { Service, ServiceContext } from '../../../core/service.ts';
import { displayPath, ROOT, type TreePath } from '../../../core/tree-path.ts';
import { rfc3339 } from '../../../platform/clock.ts';
import { createWaker, type Waker } from '../deposits/waker.ts';
import { takeAsDamage, takeAsDeletions } from './absences.ts';
import type { Candidate, Lane } from './candidates.ts';
import { type FilesContext, wakeApply } from './context.ts';
import { type InspectResult, inspectBatch } from './inspect.ts';
import { walk } from './walk.ts';

export interface Scanner {
  readonly services: readonly Service[];
  /** Asks for a full scan soon. */
  request(): void;
  /** Scans a subtree now; resolves when every difference found was looked at once. */
  scanNow(start: TreePath, signal: AbortSignal): Promise<void>;
  /** True while candidates are being looked at. */
  isBusy(): boolean;
  wakeLanes(): void;
}

/** One flush of the file system serves a whole batch. */
const BATCH = 2_048;
const IDLE_MS = 60_000;
const INTERVAL_MS = 60_000;
/** A full scan takes at most this part of the time. */
const DUTY = 20;
const UNSETTLED_MS = 60_000;
const SECOND_WALK_MS = 500;

export function createScanner(context: () => FilesContext): Scanner {
  let requested: Waker | null = null;
  const subtrees = { paths: new Set<TreePath>(), waker: null as Waker | null, busy: false };
  const lanes: Record<Lane, { waker: Waker | null; busy: boolean }> = {
    small: { waker: null, busy: false },
    large: { waker: null, busy: false },
  };
  const waker = (clock: ServiceContext['clock'], lane: Lane) => {
    lanes[lane].waker ??= createWaker(clock);
    return lanes[lane].waker;
  };
  let at = '';

  const scan = async (start: TreePath, signal: AbortSignal) => {
    const shared = context();
    await assertSame(shared);
    // Opened again: nobody held the store in between.
    if (at !== shared.store.at('.')) shared.figures.custody = false;
    at = shared.store.at('.');
    await fullScan(shared, start, signal);
  };
  const lane = (name: Lane): Service => ({
    name: `files-changes-${name}`,
    run: async ({ signal, clock, ready }) => {
      ready();
      while (!signal.aborted) {
        const shared = context();
        const taken = shared.candidates.take(name, name === 'large' ? 1 : BATCH);
        if (taken.length === 0) {
          lanes[name].busy = false;
          if (shared.candidates.takeOverflow()) requested?.wake();
          await waker(clock, name).wait(shared.candidates.nextDueInMs(name, IDLE_MS), signal);
          continue;
        }
        lanes[name].busy = true;
        for (const directory of await lookAtBatch(shared, taken, signal)) {
          subtrees.paths.add(directory);
          subtrees.waker?.wake();
        }
      }
    },
  });
  const walks: Service = {
    name: 'files-subtrees',
    run: async ({ signal, clock, ready }) => {
      subtrees.waker ??= createWaker(clock);
      ready();
      while (!signal.aborted) {
        const [next] = subtrees.paths;
        subtrees.busy = next !== undefined;
        if (next === undefined) {
          await subtrees.waker.wait(IDLE_MS, signal);
          continue;
        }
        const { absent } = await walk(context(), next, signal);
        for (const path of absent) context().candidates.add(path, 'hint');
        subtrees.paths.delete(next);
      }
    },
  };
  const scans: Service = {
    name: 'files-scan',
    run: async ({ signal, clock, ready }) => {
      requested ??= createWaker(clock);
      while (!signal.aborted) {
        const startedMs = clock.monotonicMs();
        await scan(ROOT, signal);
        if (signal.aborted) return;
        ready();
        const tookMs = clock.monotonicMs() - startedMs;
        tellUnsettled(context());
        await requested.wait(Math.max(INTERVAL_MS, DUTY * tookMs), signal);
      }
    },
  };
  return {
    services: [scans, lane('small'), lane('large'), walks],
    request: () => requested?.wake(),
    scanNow: scan,
    isBusy: () => lanes.small.busy || lanes.large.busy || subtrees.busy || subtrees.paths.size > 0,
    wakeLanes() {
      lanes.small.waker?.wake();
      lanes.large.waker?.wake();
    },
  };
}

async function assertSame(context: FilesContext): Promise<void> {
  try {
    await context.store.assertSame();
  } catch (error) {
    context.figures.custody = false;
    throw error;
  }
}

async function fullScan(
  context: FilesContext,
  start: TreePath,
  signal: AbortSignal,
): Promise<void> {
  const { figures, index } = context;
  const startedMs = context.clock.monotonicMs();
  const result = await walk(context, start, signal);
  await context.candidates.lookedAt(signal);
  if (signal.aborted) return;
  await assertSame(context);
  if (result.errors.length > 0) {
    context.log.warn('files.scan-errors', {
      errors: result.errors.length,
      first: result.errors[0],
      absencesIgnored: result.absent.length,
    });
  } else if (figures.custody) {
    await takeAsDeletions(context, result.absent, 'scan', signal);
  } else if (start === ROOT) {
    // Absent when this process first looked: whoever removed it, there is no evidence of a deletion.
    if (result.absent.length > 0) await context.barrier(signal);
    takeAsDamage(context, result.absent);
    figures.custody = true;
  }
  if (start !== ROOT) return;
  figures.special = result.special;
  figures.lastFullScanAt = rfc3339(context.clock.wallMs());
  if (index.meta.get('history') === null) index.write(() => index.meta.set('history', '1'));
  if (!figures.scanned) {
    figures.scanned = true;
    context.log.info('files.scanned', {
      entries: index.totals.entries,
      missing: index.missing,
      tookMs: Math.round(context.clock.monotonicMs() - startedMs),
    });
    wakeApply(context);
    context.journalGrew.wake();
  }
}

/** Returns the directories whose content is to be looked at. */
async function lookAtBatch(
  context: FilesContext,
  taken: readonly Candidate[],
  signal: AbortSignal,
): Promise<readonly TreePath[]> {
  let result: InspectResult;
  try {
    result = await inspectBatch(context, taken);
  } catch (error) {
    // Nothing is forgotten: the paths come again when the service does.
    for (const item of taken) context.candidates.putBack(item, 1_000);
    throw error;
  }
  const live = result.absent.filter((item) => item.live).map((item) => item.path);
  const seen = result.absent.filter((item) => !item.live).map((item) => item.path);
  try {
    await takeAsDeletions(context, live, 'event', signal);
    if (context.figures.custody) await takeAsDeletions(context, seen, 'scan', signal);
  } finally {
    for (const item of result.absent) context.candidates.finish(item);
  }
  for (const item of result.newDirectories) {
    // What is written between our walk and the watcher's own look at it is found by a second walk.
    if (item.live) {
      context.candidates.putBack({ ...item, live: false, fresh: false }, SECOND_WALK_MS);
    }
  }
  return result.newDirectories.map((item) => item.path);
}

function tellUnsettled(context: FilesContext): void {
  const paths = context.candidates.unsettledFor(UNSETTLED_MS);
  if (paths.length === 0) {
    context.alarms.clear('files-unsettled');
    return;
  }
  context.alarms.raise({
    code: 'files-unsettled',
    severity: 'warning',
    text: `${paths.length} files never pause for --settle and are not replicated, e.g. ${displayPath(paths[0] ?? '')}`,
    runbook: 'operations.md#files-unsettled',
  });
}
