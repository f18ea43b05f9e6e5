/** Puts the parts of the file engine together around an open store and index. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { createIgnoreRules } from '../../core/ignore.ts';
import { checkTreePath, latin1FromBytes } from '../../core/tree-path.ts';
import { createWaker } from './deposits/waker.ts';
import { FileIndex } from './index/file-index.ts';
import { startRun } from './index/run-marks.ts';
import type { FileEngineOptions } from './options.ts';
import { Candidates } from './scan/candidates.ts';
import type { EngineFigures, FilesContext } from './scan/context.ts';
import { createFlusher } from './scan/flusher.ts';
import { PathLocks } from './scan/path-locks.ts';
import { createScanner, type Scanner } from './scan/scanner.ts';
import { createWatcher, type Watcher } from './watcher/watcher.ts';

/** Everything that lives as long as the store is open. */
export interface Running {
  readonly context: FilesContext;
  readonly scanner: Scanner;
  readonly watcher: Watcher | null;
}

/** Throws AppError `data-locked` or `config`. */
export async function openIndex(options: FileEngineOptions): Promise<FileIndex> {
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
    stuckTold: 0,
    sync: { first: false, filesDone: 0, bytesDone: 0, startedAtMs: 0 },
  };
}

/** The parts around an open index, wired; nothing runs yet. */
export function assemble(
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
