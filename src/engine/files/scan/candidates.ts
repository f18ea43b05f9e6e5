/** Paths that may have changed, each looked at when it is due. Bounded: what overflows is left to a full scan. */
import type { Clock } from '../../../core/ports.ts';
import type { TreePath } from '../../../core/tree-path.ts';

export type Lane = 'small' | 'large';
/** Who names the path: the watcher, someone who asks for it, or a walk that goes on by itself. */
export type Origin = 'event' | 'hint' | 'scan';

export interface Candidate {
  readonly path: TreePath;
  /** Monotonic. */
  readonly dueMs: number;
  /** When it was first added, monotonic. */
  readonly sinceMs: number;
  /** An event of the watcher names it: an absence is then a live deletion. */
  readonly live: boolean;
  /** When it is a directory, what lies below is looked at too. */
  readonly walk: boolean;
  readonly lane: Lane;
  /** The stat of the last look (or ABSENT), and when that stat was first seen. */
  readonly token: string | null;
  readonly tokenSinceMs: number;
  /** Not looked at yet. */
  readonly fresh: boolean;
}

/** In place of a stat: it was absent. */
export const ABSENT = 'absent';

const MAX_CANDIDATES = 200_000;
/** A walk that fills the queue waits until it is below this. */
const WALK_PAUSE = 4_096;

export class Candidates {
  readonly #clock: Clock;
  readonly #lanes: Readonly<Record<Lane, Map<TreePath, Candidate>>> = {
    small: new Map(),
    large: new Map(),
  };
  readonly #wake: () => void;
  readonly #freshTaken = new Set<Candidate>();
  #waiters: (() => void)[] = [];
  #freshQueued = 0;
  #overflowed = false;

  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  get size(): number {
    return this.#lanes.small.size + this.#lanes.large.size;
  }

  /** True once after paths were dropped: a full scan has to find them. */
  takeOverflow(): boolean {
    const overflowed = this.#overflowed;
    this.#overflowed = false;
    return overflowed;
  }

  add(path: TreePath, origin: Origin): void {
    const known = this.#find(path);
    const nowMs = this.#clock.monotonicMs();
    if (!known && this.size >= MAX_CANDIDATES) {
      this.#overflowed = true;
      return;
    }
    if (!known?.fresh) this.#freshQueued += 1;
    this.#lanes[known?.lane ?? 'small'].set(path, {
      path,
      dueMs: nowMs,
      sinceMs: known?.sinceMs ?? nowMs,
      live: origin === 'event' || (known?.live ?? false),
      walk: origin !== 'scan' || (known?.walk ?? false),
      lane: known?.lane ?? 'small',
      token: known?.token ?? null,
      tokenSinceMs: known?.tokenSinceMs ?? nowMs,
      fresh: true,
    });
    this.#wake();
  }

  /** Takes what is due; whoever takes must finish or put back each. */
  take(lane: Lane, limit: number): readonly Candidate[] {
    const nowMs = this.#clock.monotonicMs();
    const taken: Candidate[] = [];
    for (const item of this.#lanes[lane].values()) {
      if (item.dueMs > nowMs) continue;
      taken.push(item);
      if (taken.length >= limit) break;
    }
    for (const item of taken) {
      this.#lanes[lane].delete(item.path);
      if (!item.fresh) continue;
      this.#freshQueued -= 1;
      this.#freshTaken.add(item);
    }
    return taken;
  }

  /**
   * Looks at it again after `waitMs`, unless something newer was said about it meanwhile. It counts as
   * looked at, except when it only changes lanes.
   */
  putBack(item: Candidate, waitMs: number, changes: Partial<Candidate> = {}): void {
    const fresh = changes.lane !== undefined && this.#freshTaken.has(item);
    if (!this.#find(item.path)) {
      const dueMs = this.#clock.monotonicMs() + waitMs;
      const next = { ...item, ...changes, dueMs, fresh };
      this.#lanes[next.lane].set(item.path, next);
      if (fresh) this.#freshQueued += 1;
    }
    this.finish(item);
    this.#wake();
  }

  /** Done with a taken candidate. Safe to call twice. */
  finish(item: Candidate): void {
    if (this.#freshTaken.delete(item) && this.#fresh < WALK_PAUSE / 2) this.#release();
  }

  /** Milliseconds until the next is due in a lane, at most `mostMs`. */
  nextDueInMs(lane: Lane, mostMs: number): number {
    const nowMs = this.#clock.monotonicMs();
    let dueInMs = mostMs;
    for (const item of this.#lanes[lane].values()) {
      dueInMs = Math.min(dueInMs, Math.max(0, item.dueMs - nowMs));
      if (dueInMs === 0) break;
    }
    return dueInMs;
  }

  /** Resolves when a walk may add more. */
  async hasRoom(signal: AbortSignal): Promise<void> {
    while (this.#fresh >= WALK_PAUSE && !signal.aborted) await this.#next(signal);
  }

  /** Resolves when everything added so far was looked at once. */
  async lookedAt(signal: AbortSignal): Promise<void> {
    while (this.#fresh > 0 && !signal.aborted) await this.#next(signal);
  }

  /** Paths that did not settle for `ms`. */
  unsettledFor(ms: number): readonly TreePath[] {
    const before = this.#clock.monotonicMs() - ms;
    return [...this.#lanes.small.values(), ...this.#lanes.large.values()]
      .filter((item) => !item.fresh && item.sinceMs < before)
      .map((item) => item.path);
  }

  get #fresh(): number {
    return this.#freshQueued + this.#freshTaken.size;
  }

  #find(path: TreePath): Candidate | undefined {
    return this.#lanes.small.get(path) ?? this.#lanes.large.get(path);
  }

  #next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      this.#waiters.push(done);
    });
  }

  #release(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }
}
