/** `twinsite sync`: resolves when what is in the tree now is at the peer. */
import { AppError } from '../../core/errors.ts';
import { checkTreePath, ROOT, type TreePath } from '../../core/tree-path.ts';
import type { Replication } from './exchange/replication.ts';
import { type PeerState, pendingTold } from './exchange/standing.ts';
import type { FilesContext } from './scan/context.ts';
import { OpenDirectories } from './scan/open-directories.ts';
import type { Scanner } from './scan/scanner.ts';
import { pendingOut } from './status.ts';

export interface SyncProgress {
  readonly phase: 'scan' | 'settle' | 'transfer';
  readonly entries: number;
  readonly pendingIn: number;
  readonly pendingOut: number;
}

export interface SyncResult {
  readonly ok: boolean;
  readonly tookMs: number;
  readonly entries: number;
  readonly bytes: number;
  readonly root: string;
  /** Files that would not settle and were not waited for any longer. */
  readonly unsettled: number;
  /** Changes that cannot be applied, here or at the peer; alarms say why. */
  readonly stuck: number;
  /** The tree's digest equals the peer's; null when there was nothing to compare with. */
  readonly rootEqual: boolean | null;
}

interface SyncParts {
  readonly context: () => FilesContext;
  readonly scanner: Scanner | null;
  readonly peer: PeerState;
  readonly replication: Replication | null;
}

const STEP_MS = 20;
const SETTLE_MOST_MS = 5_000;

export async function syncNow(
  parts: SyncParts,
  target: string | null,
  signal: AbortSignal,
  onProgress: (progress: SyncProgress) => void = () => undefined,
): Promise<SyncResult> {
  const context = parts.context();
  const { clock, index, candidates } = context;
  const { scanner } = parts;
  const start = target === null || target === '' ? ROOT : checkTreePath(Buffer.from(target));
  if (start === null || !scanner) {
    throw new AppError('bad-request', `'${target}' is no path in the replicated tree`);
  }
  const startedMs = clock.monotonicMs();
  const tell = (phase: SyncProgress['phase']) =>
    onProgress({
      phase,
      entries: index.totals.entries,
      pendingIn: index.need.open(),
      pendingOut: pendingOut(context, parts.peer),
    });
  tell('scan');
  if (start !== ROOT) candidates.add(start, 'hint');
  await scanner.scanNow(
    start === ROOT || (await isDirectory(context, start)) ? start : ROOT,
    signal,
  );
  tell('settle');
  const settleUntilMs = clock.monotonicMs() + SETTLE_MOST_MS;
  while (!signal.aborted && (candidates.size > 0 || scanner.isBusy())) {
    if (clock.monotonicMs() > settleUntilMs) break;
    await clock.sleep(STEP_MS, signal);
  }
  const unsettled = candidates.size;
  await index.flushed();
  const { seq } = index;
  parts.replication?.pullSoon();
  while (!signal.aborted && parts.replication && !isThere(context, parts.peer, seq)) {
    tell('transfer');
    await clock.sleep(STEP_MS, signal);
  }
  if (signal.aborted) {
    throw new AppError(
      'peer-unreachable',
      `the peer did not confirm everything in time: ${pendingOut(context, parts.peer)} changes are pending`,
    );
  }
  const stuck = context.figures.stuckTold + (parts.peer.last?.stuck ?? 0);
  return {
    ok: stuck === 0,
    stuck,
    tookMs: Math.round(clock.monotonicMs() - startedMs),
    ...index.totals,
    root: index.root,
    unsettled,
    rootEqual: parts.peer.rootEqual,
  };
}

/** Both directions: the peer applied ours up to `seq`, and nothing of the peer's waits here. */
function isThere(context: FilesContext, peer: PeerState, seq: number): boolean {
  return peer.appliedSeq >= seq && pendingTold(context) === 0;
}

async function isDirectory(context: FilesContext, path: TreePath): Promise<boolean> {
  await using directories = new OpenDirectories(context.store);
  return directories.use(path, () => true).catch(() => false);
}
