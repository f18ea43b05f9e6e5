/** Works the need list off: small changes in two lanes, large files in their own, so that none waits for another. */
import { describeError } from '../../../core/errors.ts';
import type { PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { Waker } from '../deposits/waker.ts';
import type { NeedItem } from '../index/need-list.ts';
import type { FilesContext } from '../scan/context.ts';
import { applyTasks } from './apply-batch.ts';
import { decideItems } from './decide.ts';
import type { Outcome } from './task.ts';

export interface Applier {
  readonly services: readonly Service[];
  /** Items that failed often enough to be told to a person. */
  stuck(): number;
}

interface Lane {
  readonly name: string;
  readonly fromBytes: number;
  readonly toBytes: number;
  readonly items: number;
  readonly batchBytes: number;
}

interface Patience {
  readonly tries: number;
  /** Tries that failed in earnest, not for want of a neighbour. */
  readonly failures: number;
  readonly notBeforeMs: number;
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
const MAX_WAIT_MS = 60_000;
const STUCK_FAILURES = 5;

export function createApplier(
  context: () => FilesContext,
  link: PeerLink | null,
  wakers: readonly Waker[],
): Applier {
  const inFlight = new Set<number>();
  const patience = new Map<number, Patience>();

  const lane = (of: Lane, waker: Waker): Service => ({
    name: `files-apply-${of.name}`,
    run: async ({ signal, clock, ready }) => {
      ready();
      while (!signal.aborted) {
        const shared = context();
        const { items, waitMs } =
          shared.figures.scanned && !shared.figures.paused
            ? take(shared, of)
            : { items: [], waitMs: IDLE_MS };
        if (items.length === 0) {
          await waker.wait(waitMs, signal);
          continue;
        }
        for (const item of items) inFlight.add(item.id);
        try {
          await applyItems(shared, items, signal);
        } catch (error) {
          for (const item of items) note(shared, item, describeError(error), 1_000, true);
          throw error;
        } finally {
          for (const item of items) inFlight.delete(item.id);
          tellStuck(shared);
        }
        await clock.sleep(0, signal);
      }
    },
  });

  /** The next items that are due, and how long to wait when there are none. */
  const take = (shared: FilesContext, of: Lane) => {
    const nowMs = shared.clock.monotonicMs();
    const items: NeedItem[] = [];
    let bytes = 0;
    let waitMs = IDLE_MS;
    for (let after = 0; ; ) {
      const page = shared.index.need.next(after, of.fromBytes, of.toBytes, PAGE);
      for (const item of page) {
        after = item.id;
        const known = patience.get(item.id);
        if (known && known.notBeforeMs > nowMs) {
          waitMs = Math.min(waitMs, known.notBeforeMs - nowMs);
        } else if (!inFlight.has(item.id)) {
          items.push(item);
          bytes += item.entry.deleted ? 0 : item.entry.size;
        }
        if (items.length >= of.items || bytes >= of.batchBytes) return { items, waitMs };
      }
      if (page.length < PAGE) return { items, waitMs: Math.max(5, waitMs) };
    }
  };

  const note = (
    shared: FilesContext,
    item: NeedItem,
    reason: string,
    waitMs: number,
    failed: boolean,
  ) => {
    const before = patience.get(item.id) ?? { tries: 0, failures: 0, notBeforeMs: 0 };
    const failures = before.failures + (failed ? 1 : 0);
    const backoffMs = failed
      ? Math.min(MAX_WAIT_MS, waitMs * 2 ** Math.min(failures - 1, 6))
      : waitMs;
    patience.set(item.id, {
      tries: before.tries + 1,
      failures,
      notBeforeMs: shared.clock.monotonicMs() + backoffMs,
    });
    shared.log.debug('files.apply-later', { path: item.entry.path, reason, backoffMs });
  };

  const applyItems = async (
    shared: FilesContext,
    items: readonly NeedItem[],
    signal: AbortSignal,
  ) => {
    const tasks = decideItems(shared, items, (item) => patience.get(item.id)?.tries ?? 0);
    const left = new Set(tasks.map((task) => task.item.id));
    for (const item of items) if (!left.has(item.id)) patience.delete(item.id);
    if (tasks.length === 0) return;
    const outcomes = await applyTasks(shared, link, tasks, signal);
    for (const [task, outcome] of outcomes) {
      if (outcome.kind !== 'later') patience.delete(task.item.id);
      else note(shared, task.item, outcome.reason, outcome.waitMs, isFailure(outcome));
    }
  };

  const tellStuck = (shared: FilesContext) => {
    const stuck = countStuck();
    shared.figures.stuck = stuck;
    if (stuck === 0) return shared.alarms.clear('files-stuck');
    shared.alarms.raise({
      code: 'files-stuck',
      severity: 'warning',
      text: `${stuck} changes of the peer cannot be applied here; they are tried again`,
      runbook: 'operations.md#files-stuck',
    });
  };
  const countStuck = () =>
    [...patience.values()].filter((item) => item.failures >= STUCK_FAILURES).length;

  return {
    services: LANES.map((of, index) => {
      const waker = wakers[index];
      if (!waker) throw new Error('one waker per lane');
      return lane(of, waker);
    }),
    stuck: countStuck,
  };
}

/** Waits of a second and more are failures; shorter ones wait for a neighbour or a writer. */
function isFailure(outcome: Outcome): boolean {
  return outcome.kind === 'later' && outcome.waitMs >= 1_000;
}

/** Number of lanes, each with a waker of its own. */
export const APPLY_LANES = LANES.length;
