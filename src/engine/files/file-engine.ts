/**
 * Replication of applications' own files: everything in the store except `deposits/`, `.twinsite/` and
 * ignored names, both ways. One service; it waits for the store, and starts over when it is another one.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '../../core/errors.ts';
import type { SiteName } from '../../core/ids.ts';
import { createIgnoreRules } from '../../core/ignore.ts';
import type { BrakeLimits } from '../../core/mass-delete.ts';
import type { Alarms, Clock, Log, Metrics, OwnStore, PeerLink } from '../../core/ports.ts';
import type { Service, ServiceContext } from '../../core/service.ts';
import type { FilesStatus } from '../../core/status.ts';
import { supervise } from '../../core/supervise.ts';
import { checkTreePath, latin1FromBytes } from '../../core/tree-path.ts';
import { APPLY_LANES, createApplier } from './apply/applier.ts';
import { createCopies } from './apply/copies.ts';
import { prepareTemps } from './apply/temps.ts';
import { createTrashKeeper, type TrashLimits } from './apply/trash-keeper.ts';
import { createWaker } from './deposits/waker.ts';
import { createReplication, type Replication } from './exchange/replication.ts';
import { isDrained, type PeerState } from './exchange/standing.ts';
import { FileIndex } from './index/file-index.ts';
import { endDoubt, endRun, startRun } from './index/run-marks.ts';
import { Candidates } from './scan/candidates.ts';
import {
  type EngineFigures,
  type FilesContext,
  tellHeld,
  type WriterEpoch,
} from './scan/context.ts';
import { createFlusher } from './scan/flusher.ts';
import { PathLocks } from './scan/path-locks.ts';
import { createScanner, type Scanner } from './scan/scanner.ts';
import { emptyStatus, filesStatus, PendingAges, tellMetrics } from './status.ts';
import { type SyncProgress, type SyncResult, syncNow } from './sync.ts';
import { createWatcher, type Watcher, type WatcherTimes } from './watcher/watcher.ts';

export interface FileEngineOptions {
  readonly dataDir: string;
  readonly store: OwnStore;
  /** Null when the site runs without a peer. */
  readonly link: PeerLink | null;
  readonly pairSecret: string;
  readonly site: SiteName;
  /** The epoch as it is now; stamped into each change. */
  readonly writerEpoch: () => WriterEpoch;
  readonly settleMs: number;
  readonly ignore: readonly string[];
  readonly massDelete: BrakeLimits;
  readonly trash: TrashLimits;
  readonly owners?: 'auto' | 'on' | 'off';
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly alarms: Alarms;
  /** What the deposits' part counts for the same section of the status. */
  readonly deposits?: () => { readonly unclaimed: number; readonly rowsWithoutBytes: number };
  readonly random?: () => number;
  /** `off`: changes are found by scans only. */
  readonly watcher?: 'on' | 'off';
  readonly watcherTimes?: WatcherTimes;
}

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

/** Everything that lives as long as the store is open. */
interface Running {
  readonly context: FilesContext;
  readonly scanner: Scanner;
  readonly watcher: Watcher | null;
}

const STORE_POLL_MS = 100;
const TELL_MS = 1_000;

/** Builds the engine; nothing runs before its service does. */
export function createFileEngine(options: FileEngineOptions): FileEngine {
  const { clock, link } = options;
  let running: Running | null = null;
  const peer: PeerState = { last: null, appliedSeq: 0, rootEqual: null };
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

async function openIndex(options: FileEngineOptions): Promise<FileIndex> {
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 });
  return FileIndex.open({
    file: path.join(options.dataDir, 'index.sqlite'),
    storeId: options.store.id,
    generation: options.store.generation,
    pairSecret: options.pairSecret,
  });
}

function newFigures(): EngineFigures {
  return {
    healedMissing: 0,
    lastFullScanAt: null,
    lastRootMatchAt: null,
    custody: false,
    scanned: false,
    listing: false,
    paused: false,
    special: 0,
    stuck: 0,
    sync: { first: false, filesDone: 0, bytesDone: 0, startedAtMs: 0 },
  };
}

function assemble(
  options: FileEngineOptions,
  index: FileIndex,
  needGrew: FilesContext['needGrew'],
): Running {
  const { store, clock, log, alarms } = options;
  startRun(index);
  const scanner = createScanner(() => context);
  const isRoot = process.getuid?.() === 0;
  const watcher = options.watcher === 'off' ? null : makeWatcher(options, () => context, scanner);
  const context: FilesContext = {
    store,
    index,
    site: options.site,
    writerEpoch: options.writerEpoch,
    settleMs: options.settleMs,
    ignore: createIgnoreRules(options.ignore),
    massDelete: options.massDelete,
    owners: options.owners === 'off' ? false : options.owners === 'on' || isRoot,
    clock,
    log,
    metrics: options.metrics,
    alarms,
    locks: new PathLocks(),
    flusher: createFlusher(store.root, clock, log),
    candidates: new Candidates(clock, scanner.wakeLanes),
    figures: newFigures(),
    journalGrew: createWaker(clock),
    needGrew,
    barrier: async (signal) => (watcher ? watcher.barrier(signal) : false),
    brake: [],
  };
  return { context, scanner, watcher };
}

function makeWatcher(
  options: FileEngineOptions,
  context: () => FilesContext,
  scanner: Scanner,
): Watcher {
  const { store, clock, log, alarms } = options;
  return createWatcher({
    store,
    clock,
    log,
    alarms,
    ...(options.watcherTimes ? { times: options.watcherTimes } : {}),
    onReady: () => scanner.request(),
    onEvent: (_kind, text) => {
      // A name that is not UTF-8 arrives mangled: its directory is looked at instead.
      const exact = !text.includes('\uFFFD');
      const bytes = Buffer.from(exact ? text : path.posix.dirname(text));
      const target = checkTreePath(bytes);
      const { ignore, candidates } = context();
      if (target !== null && !ignore.covers(target)) {
        candidates.add(target, exact ? 'event' : 'hint');
      } else if (!exact && latin1FromBytes(bytes) === '.') {
        scanner.request();
      }
    },
  });
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
