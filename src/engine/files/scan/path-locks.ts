/** Paths that one part of the engine works on now; the other comes back later instead of waiting. */
import type { TreePath } from '../../../core/tree-path.ts';

export class PathLocks {
  readonly #held = new Set<TreePath>();

  /** True when the caller has it now and must release it. */
  tryHold(path: TreePath): boolean {
    if (this.#held.has(path)) return false;
    this.#held.add(path);
    return true;
  }

  release(path: TreePath): void {
    this.#held.delete(path);
  }
}
