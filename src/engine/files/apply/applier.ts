/** Works the need list off: small changes in two lanes, large files in their own, so that none waits for another. */
import { describeError } from '../../../core/errors.ts';
import type { Clock, PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import { displayPath } from '../../../core/tree-path.ts';
import type { Waker } from '../deposits/waker.ts';
import type { NeedItem } from '../index/need-list.ts';
import type { FilesContext } from '../scan/context.ts';
import { applyTasks } from './apply-batch.ts';
import { decideItems } from './decide.ts';
import { Patience } from './patience.ts';

interface Lane {
  readonly name: string;
  readonly fromBytes: number;
  readonly toBytes: number;
  readonly items: number;
  readonly batchBytes: number;
}

interface Applying {
  readonly context: () => FilesContext;
  readonly link: PeerLink | null;
  readonly inFlight: Set<number>;
  readonly patience: Patience;
}

const LARGE_BYTES = 32 * 1024 * 1024;
const SMALL: Omit<Lane, 'name'> = {
  fromBytes: 0,
  toBytes: LARGE_BYTES,
  items: 1_000,
  batchBytes: 64 * 1024 * 1024,
};
const LANES: readonly Lane[] = [
  { name: 'a', ...SMALL },
  { name: 'b', ...SMALL },
  {
    name: 'large',
    fromBytes: LARGE_BYTES + 1,
    toBytes: Number.MAX_SAFE_INTEGER,
    items: 1,
    batchBytes: Number.MAX_SAFE_INTEGER,
  },
];
const PAGE = 2_000;
const IDLE_MS = 5_000;
/** After the peer could not be reached. */
const PEER_AWAY_MS = 1_000;
const RETRY_MS = 1_000;

/** Number of lanes, each with a waker of its own. */
export const APPLY_LANES = LANES.length;

/** One service per lane; `wakers[i]` wakes lane i. */
export function createApplier(
  context: () => FilesContext,
  link: PeerLink | null,
  wakers: readonly Waker[],
  clock: Clock,
): readonly Service[] {
  const applying = { context, link, inFlight: new Set<number>(), patience: new Patience(clock) };
  return LANES.map((lane, index) => {
    const waker = wakers[index];
    if (!waker) throw new Error('one waker per lane');
    return {
      name: `files-apply-${lane.name}`,
      run: async ({ signal, ready }) => {
        ready();
        while (!signal.aborted) {
          const waitMs = await applyNext(applying, lane, signal);
          if (waitMs > 0) await waker.wait(waitMs, signal);
        }
      },
    };
  });
}

/** Applies what is due in the lane; returns how long to wait before the next look. */
async function applyNext(applying: Applying, lane: Lane, signal: AbortSignal): Promise<number> {
  const { context, inFlight, patience } = applying;
  const shared = context();
  if (!shared.figures.scanned || shared.figures.paused || !applying.link) return IDLE_MS;
  const { items, waitMs } = take(applying, shared, lane);
  if (items.length === 0) return waitMs;
  for (const item of items) inFlight.add(item.id);
  try {
    const peerAway = await applyItems(applying, shared, items, signal);
    // Let others run between batches; without the peer, until something new is told.
    await shared.clock.sleep(0, signal);
    return peerAway ? PEER_AWAY_MS : 0;
  } catch (error) {
    shared.log.debug('files.apply-failed', { error: describeError(error) });
    for (const item of items) patience.note(item, RETRY_MS, false);
    throw error;
  } finally {
    for (const item of items) inFlight.delete(item.id);
    tellStuck(applying, shared);
  }
}

/** The next items that are due, and how long to wait when there are none. */
function take(
  { inFlight, patience }: Applying,
  shared: FilesContext,
  lane: Lane,
): { readonly items: readonly NeedItem[]; readonly waitMs: number } {
  const items: NeedItem[] = [];
  let bytes = 0;
  let waitMs = IDLE_MS;
  for (let after = 0; ; ) {
    const page = shared.index.need.next(after, lane.fromBytes, lane.toBytes, PAGE);
    for (const item of page) {
      after = item.id;
      const ownWaitMs = patience.waitMs(item);
      if (ownWaitMs > 0) waitMs = Math.min(waitMs, ownWaitMs);
      else if (!inFlight.has(item.id)) {
        items.push(item);
        bytes += item.entry.deleted ? 0 : item.entry.size;
      }
      if (items.length >= lane.items || bytes >= lane.batchBytes) return { items, waitMs };
    }
    if (page.length < PAGE) return { items, waitMs: Math.max(5, waitMs) };
  }
}

/** True when the peer could not be reached. */
async function applyItems(
  { link, patience }: Applying,
  shared: FilesContext,
  items: readonly NeedItem[],
  signal: AbortSignal,
): Promise<boolean> {
  const tasks = decideItems(shared, items, (item) => patience.triesOf(item));
  const left = new Set(tasks.map((task) => task.item.id));
  for (const item of items) if (!left.has(item.id)) patience.forget(item);
  shared.journalGrew.wake();
  if (tasks.length === 0) return false;
  let peerAway = false;
  for (const [task, outcome] of await applyTasks(shared, link, tasks, signal)) {
    if (outcome.kind !== 'later') {
      patience.forget(task.item);
      continue;
    }
    const { reason, waitMs, blame } = outcome;
    patience.note(task.item, waitMs, blame === 'item');
    if (blame === 'peer') peerAway = true;
    shared.log.debug('files.apply-later', { path: displayPath(task.entry.path), reason, waitMs });
  }
  return peerAway;
}

function tellStuck({ patience }: Applying, shared: FilesContext): void {
  const paths = patience.stuck(shared.index.need);
  shared.figures.stuck = paths.length;
  shared.figures.stuckTold = paths.filter(
    (path) => shared.index.need.get(path)?.heal === false,
  ).length;
  if (paths.length === 0) {
    shared.alarms.clear('files-stuck');
    return;
  }
  shared.alarms.raise({
    code: 'files-stuck',
    severity: 'warning',
    text: `${paths.length} changes of the peer cannot be applied here and are tried again, e.g. ${displayPath(paths[0] ?? '')}`,
    runbook: 'operations.md#files-stuck',
  });
}
