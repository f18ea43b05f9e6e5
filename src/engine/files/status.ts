/** The files' section of the status document, and the same as metrics. */
import type { Clock } from '../../core/ports.ts';
import type { FilesStatus } from '../../core/status.ts';
import type { PeerState } from './exchange/standing.ts';
import type { FilesContext } from './scan/context.ts';

interface DepositFigures {
  readonly unclaimed: number;
  readonly rowsWithoutBytes: number;
}

const MAX_MARKS = 2_000;

/** Since when what is pending is pending, to a quarter of a second. */
export class PendingAges {
  readonly #clock: Clock;
  #marks: { seq: number; atMs: number }[] = [];
  #inSinceMs: number | null = null;
  #noted = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Call regularly. */
  note(context: FilesContext, peer: PeerState): void {
    const nowMs = this.#clock.monotonicMs();
    const { index } = context;
    if (index.seq < this.#noted) this.#marks = [];
    if (index.seq > this.#noted && this.#marks.length < MAX_MARKS) {
      this.#marks.push({ seq: index.seq, atMs: nowMs });
    }
    this.#noted = index.seq;
    const done = peer.appliedSeq;
    while (this.#marks[0] && this.#marks[0].seq <= done) this.#marks.shift();
    if (index.need.open() === 0) this.#inSinceMs = null;
    else this.#inSinceMs ??= nowMs;
  }

  oldestMs(): number {
    const nowMs = this.#clock.monotonicMs();
    const out = this.#marks[0] ? nowMs - this.#marks[0].atMs : 0;
    const inward = this.#inSinceMs === null ? 0 : nowMs - this.#inSinceMs;
    return Math.round(Math.max(out, inward));
  }
}

/** Changes of ours that the peer has not applied, as far as it told; one path may count more than once. */
export function pendingOut(context: FilesContext, peer: PeerState): number {
  const { index } = context;
  const unsent = Math.max(0, index.seq - index.meta.number('acked_seq'));
  const unapplied =
    peer.appliedSeq >= index.meta.number('acked_seq') ? 0 : (peer.last?.pending ?? 0);
  return unsent + unapplied;
}

export function filesStatus(
  context: FilesContext,
  peer: PeerState,
  ages: PendingAges,
  deposits: DepositFigures,
): FilesStatus {
  const { index, figures } = context;
  const { entries, bytes } = index.totals;
  const trash = index.kept.counts('trash');
  return {
    entries,
    bytes,
    pendingIn: index.need.open(),
    pendingOut: pendingOut(context, peer),
    oldestPendingMs: ages.oldestMs(),
    root: index.root,
    lastRootMatchAt: figures.lastRootMatchAt,
    lastFullScanAt: figures.lastFullScanAt,
    conflicts: index.kept.counts('conflict').entries,
    ...deposits,
    healedMissing: figures.healedMissing,
    heldDeletes: index.held.count(),
    trash,
    sync: syncStatus(context),
    scrub: { lastFullAt: null, coverage: 0, rotFound: 0, rotHealed: 0 },
  };
}

function syncStatus(context: FilesContext): FilesStatus['sync'] {
  const { index, figures, clock } = context;
  const waiting = index.need.open();
  const { sync } = figures;
  const nowMs = clock.monotonicMs();
  if (waiting === 0) {
    sync.filesDone = 0;
    sync.bytesDone = 0;
    sync.startedAtMs = nowMs;
    return { phase: 'idle', filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0, etaMs: null };
  }
  const bytes = index.need.bytes();
  const elapsedMs = nowMs - sync.startedAtMs;
  const done = sync.filesDone / (sync.filesDone + waiting);
  return {
    phase: index.meta.get('synced') === null ? 'first' : 'catch-up',
    filesDone: sync.filesDone,
    filesTotal: sync.filesDone + waiting,
    bytesDone: sync.bytesDone,
    bytesTotal: sync.bytesDone + bytes,
    etaMs: done > 0 ? Math.round((elapsedMs * (1 - done)) / done) : null,
  };
}

/** Before the store is open. */
export function emptyStatus(deposits: DepositFigures): FilesStatus {
  return {
    entries: 0,
    bytes: 0,
    pendingIn: 0,
    pendingOut: 0,
    oldestPendingMs: 0,
    root: '',
    lastRootMatchAt: null,
    lastFullScanAt: null,
    conflicts: 0,
    ...deposits,
    healedMissing: 0,
    heldDeletes: 0,
    trash: { entries: 0, bytes: 0, oldestAt: null },
    sync: { phase: 'idle', filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0, etaMs: null },
    scrub: { lastFullAt: null, coverage: 0, rotFound: 0, rotHealed: 0 },
  };
}

export function tellMetrics(context: FilesContext, peer: PeerState, ages: PendingAges): void {
  const { metrics, index } = context;
  metrics.gauge('files_journal_seq', 'Journal number of the last change here', index.seq);
  metrics.gauge('files_candidates', 'Paths that are being looked at', context.candidates.size);
  metrics.gauge('files_stuck', 'Changes of the peer that cannot be applied', context.figures.stuck);
  metrics.gauge('files_special', 'Sockets, pipes and devices left out', context.figures.special);
  metrics.gauge(
    'files_oldest_pending_seconds',
    'Age of the oldest change that is not at both sites',
    ages.oldestMs() / 1000,
  );
  metrics.gauge(
    'files_peer_applied_seq',
    'Journal number up to which the peer applied changes',
    peer.appliedSeq,
  );
}
