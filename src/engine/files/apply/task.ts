/** One change of the peer's on its way into the store. */
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { Observed } from '../../../core/scan-judgement.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import type { KeptFile } from '../index/kept-list.ts';
import type { NeedItem } from '../index/need-list.ts';
import type { IndexRow } from '../index/rows.ts';
import type { FilesContext } from '../scan/context.ts';
import type { OpenDirectories } from '../scan/open-directories.ts';

export interface Task {
  readonly item: NeedItem;
  /** What the row becomes. */
  readonly entry: ManifestEntry;
  /** The row as it was when decided; nothing else may change it while the task holds the path. */
  readonly row: IndexRow | null;
  readonly action: 'place' | 'metadata' | 'delete';
  readonly displaced: 'trash' | 'conflict';
  /** How often it was tried before. */
  readonly tries: number;
}

/** Why something has to wait: for another change or a writer here, for the peer, or by its own fault. */
export type Blame = 'neighbour' | 'peer' | 'item';

export type Outcome =
  /** In place (or gone, for a deletion); `seen` is null when someone changed it at once. */
  | { readonly kind: 'done'; readonly seen: Observed | null; readonly kept: KeptFile | null }
  /** A directory that must live on because something lives in it. */
  | { readonly kind: 'revive' }
  | {
      readonly kind: 'later';
      readonly reason: string;
      readonly waitMs: number;
      readonly blame: Blame;
    }
  /** Neither site has the bytes. */
  | { readonly kind: 'nowhere' };

/** What the steps of one batch share. */
export interface ApplyBatch {
  readonly context: FilesContext;
  readonly directories: OpenDirectories;
  /** Directories that gained or lost a name. */
  readonly touched: Set<TreePath>;
  /** Directories made because a child needed them, which no entry told. */
  readonly madeParents: Set<TreePath>;
}

export function later(reason: string, waitMs: number, blame: Blame = 'neighbour'): Outcome {
  return { kind: 'later', reason, waitMs, blame };
}

/** Tries after which a directory is taken to live on; until then a deletion below it may be on its way. */
const MAX_HOPEFUL_TRIES = 20;

/** True when it is time to revive a directory that something lives in. */
export function mustLive(batch: ApplyBatch, task: Task): boolean {
  return task.tries >= MAX_HOPEFUL_TRIES && !batch.context.figures.listing;
}

/** Tries after which something unseen that never settles is displaced and kept as a conflict copy. */
export const MAX_PATIENT_TRIES = 50;
