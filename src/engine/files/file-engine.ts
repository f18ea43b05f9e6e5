import { AppError } from '../../core/errors.ts';
import type { OwnStore } from '../../core/ports.ts';
import type { Service, ServiceContext } from '../../core/service.ts';
import type { FilesStatus } from '../../core/status.ts';
import { supervise } from '../../core/supervise.ts';
import { checkTreePath } from '../../core/tree-path.ts';
import { APPLY_LANES, createApplier } from './apply/applier.ts';
import { createCopies } from './apply/copies.ts';
import { prepareTemps } from './apply/temps.ts';
import { createTrashKeeper } from './apply/trash-keeper.ts';
import { assemble, openIndex, type Running } from './assemble.ts';
import { createWaker } from './deposits/waker.ts';
import { createReplication, type Replication } from './exchange/replication.ts';
import { isDrained, type PeerState } from './exchange/standing.ts';
import type { FileIndex } from './index/file-index.ts';
import { endDoubt, endRun } from './index/run-marks.ts';
import type { FileEngineOptions } from './options.ts';
import { type FilesContext, tellHeld } from './scan/context.ts';
import { emptyStatus, filesStatus, PendingAges, tellMetrics } from './status.ts';
import { type SyncProgress, type SyncResult, syncNow } from './sync.ts';

export interface FileFacts {
  /** Digest of the tree, hex. */
  readonly root: string;
  /** How far this site's journal is. */
  readonly seq: number;
  /** Everything the peer told is applied (or told to a person), and it recorded everything of ours. */
  readonly drained: boolean;
  /** The trees' digests the last time both sides were drained; null: not compared in this run. */
  readonly peerRootEqual: boolean | null;
}

export interface FileEngine {
  readonly services: readonly Service[];
  facts(): FileFacts;
  status(): FilesStatus;
  /**
   * Looks at the tree, or a part of it, and waits until the peer has applied everything. Throws
   * AppError `not-ready` or `peer-unreachable` when the signal aborts first.
   */
  sync(
    path: string | null,
    signal: AbortSignal,
    onProgress?: (progress: SyncProgress) => void,
  ): Promise<SyncResult>;
  /** Someone who sees the store from elsewhere says that this path may have changed. */
  hint(path: Uint8Array): void;
  /** Of the watcher's child; null when none runs. */
  watcherPid(): number | null;
}

const STORE_POLL_MS = 100;
const TELL_MS = 1_000;

/** Builds the engine; nothing runs before its service does. */
export function createFileEngine(options: FileEngineOptions): FileEngine {
  const { clock, link } = options;
  let running: Running | null = null;
  const peer: PeerState = { linked: link !== null, last: null, appliedSeq: 0, rootEqual: null };
  const ages = new PendingAges(clock);
  const wakers = Array.from({ length: APPLY_LANES }, () => createWaker(clock));
  const context = () => {
    if (!running) throw new AppError('not-ready', 'the store is not open yet');
    return running.context;
  };
  const replication: Replication | null = link
    ? createReplication(context, link, peer, clock)
    : null;
  const applier = createApplier(context, link, wakers, clock);

  const runOpen = async (service: ServiceContext) => {
    const index = await openIndex(options);
    try {
      running = assemble(options, index, wakers);
      const { scanner, watcher, context: opened } = running;
      // A long flush must not hold up the end.
      service.signal.addEventListener('abort', () => opened.flusher.close(), { once: true });
      await prepareTemps(opened);
      service.ready();
      await runAll(options, service.signal, [
        ...scanner.services,
        ...(watcher ? [watcher.service] : []),
        ...applier,
        ...(replication?.services ?? []),
        ...(link ? [createCopies(context, link)] : []),
        createTrashKeeper(context, options.trash),
        sameStore(options, index),
        teller(context, peer, ages),
      ]);
    } finally {
      running?.context.flusher.close();
      running = null;
      peer.last = null;
      if (service.signal.aborted) await endRun(index);
      await index.close();
    }
  };
  return {
    services: [
      {
        name: 'files',
        run: async (service) => {
          while (!service.signal.aborted) {
            if (isOpen(options.store)) await runOpen(service);
            else await clock.sleep(STORE_POLL_MS, service.signal);
          }
        },
      },
    ],
    facts: () => {
      const index = running?.context.index;
      return {
        root: index?.root ?? '',
        seq: index?.seq ?? 0,
        drained: running !== null && isDrained(running.context, peer),
        peerRootEqual: peer.rootEqual,
      };
    },
    status: () => {
      const deposits = options.deposits?.() ?? { unclaimed: 0, rowsWithoutBytes: 0 };
      return running ? filesStatus(running.context, peer, ages, deposits) : emptyStatus(deposits);
    },
    sync: async (target, signal, onProgress) => {
      while (!running && !signal.aborted) await clock.sleep(STORE_POLL_MS, signal);
      const scanner = running?.scanner ?? null;
      return syncNow({ context, scanner, peer, replication }, target, signal, onProgress);
    },
    hint: (bytes) => {
      const target = checkTreePath(bytes);
      if (target === null || !running || running.context.ignore.covers(target)) return;
      running.context.candidates.add(target, 'hint');
    },
    watcherPid: () => running?.watcher?.pid() ?? null,
  };
}

function isOpen(store: OwnStore): boolean {
  return store.health().ok && store.id !== '' && store.generation !== '';
}

/** Runs all until the signal aborts, or until one fails for good; resolves when all have ended. */
async function runAll(
  options: FileEngineOptions,
  signal: AbortSignal,
  services: readonly Service[],
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const { clock, log } = options;
  const random = options.random ?? Math.random;
  const results = await Promise.allSettled(
    services.map((service) =>
      supervise(service, { signal: either, clock, log, random }).finally(() => stop.abort()),
    ),
  );
  for (const result of results) {
    if (result.status === 'rejected' && result.reason !== ANOTHER_STORE) throw result.reason;
  }
}

const ANOTHER_STORE = new AppError('store-failed', 'another store was opened', { kind: 'fatal' });

/** Ends everything when the store is another one (or another generation) than the index is bound to. */
function sameStore(options: FileEngineOptions, index: FileIndex): Service {
  const { store } = options;
  const bound = index.meta.get('store');
  return {
    name: 'files-binding',
    run: async ({ signal, clock, ready }) => {
      ready();
      while (!signal.aborted) {
        if (isOpen(store) && `${store.id}/${store.generation}` !== bound) throw ANOTHER_STORE;
        await clock.sleep(TELL_MS, signal);
      }
    },
  };
}

function teller(context: () => FilesContext, peer: PeerState, ages: PendingAges): Service {
  return {
    name: 'files-figures',
    run: async ({ signal, clock, ready }) => {
      ready();
      while (!signal.aborted) {
        ages.note(context(), peer);
        tellMetrics(context(), peer, ages);
        tellHeld(context());
        const { index, figures } = context();
        if (figures.scanned && index.missing === 0) endDoubt(index);
        await clock.sleep(TELL_MS / 4, signal);
      }
    },
  };
}
