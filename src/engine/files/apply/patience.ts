/** How often each item of the need list was tried, and when it is due again. In memory: a restart tries anew. */
import type { Clock } from '../../../core/ports.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import type { NeedItem, NeedList } from '../index/need-list.ts';

interface Tried {
  readonly path: TreePath;
  readonly tries: number;
  /** Tries that failed through the item's own fault. */
  readonly failures: number;
  readonly dueMs: number;
}

const MAX_WAIT_MS = 60_000;
/** From here on a person is told. */
const STUCK_FAILURES = 5;

export class Patience {
  readonly #clock: Clock;
  readonly #tried = new Map<number, Tried>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  triesOf(item: NeedItem): number {
    return this.#tried.get(item.id)?.tries ?? 0;
  }

  /** Milliseconds until it is due; 0 when it is. */
  waitMs(item: NeedItem): number {
    return Math.max(0, (this.#tried.get(item.id)?.dueMs ?? 0) - this.#clock.monotonicMs());
  }

  /** `failed`: it was the item's own fault, so the wait grows each time. */
  note(item: NeedItem, waitMs: number, failed: boolean): void {
    const before = this.#tried.get(item.id);
    const failures = (before?.failures ?? 0) + (failed ? 1 : 0);
    const growth = failed ? 2 ** Math.min(failures - 1, 6) : 1;
    this.#tried.set(item.id, {
      path: item.entry.path,
      tries: (before?.tries ?? 0) + 1,
      failures,
      dueMs: this.#clock.monotonicMs() + Math.min(MAX_WAIT_MS, waitMs * growth),
    });
  }

  forget(item: NeedItem): void {
    this.#tried.delete(item.id);
  }

  /** Items that failed again and again; what left the list meanwhile is forgotten. */
  stuck(need: NeedList): readonly TreePath[] {
    const paths: TreePath[] = [];
    for (const [id, tried] of this.#tried) {
      if (tried.failures < STUCK_FAILURES) continue;
      if (need.get(tried.path)?.id === id) paths.push(tried.path);
      else this.#tried.delete(id);
    }
    return paths;
  }
}
