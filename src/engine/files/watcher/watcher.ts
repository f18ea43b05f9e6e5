/**
 * Hints for latency from a watching child. Its silence is never taken for truth: the scanner finds
 * what it missed. A canary file tells whether it still sees; a blind or dead child is killed and replaced.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { describeError } from '../../../core/errors.ts';
import type { Alarms, Clock, Log, OwnStore } from '../../../core/ports.ts';
import type { Service, ServiceContext } from '../../../core/service.ts';
import { selfCommand } from '../../../platform/self.ts';
import { ChildLines } from './child-lines.ts';

export interface WatcherTimes {
  readonly canaryMs: number;
  /** A canary unseen for this long means blind. */
  readonly blindMs: number;
  /** The first crawl of the tree may take this long. */
  readonly readyMs: number;
}

export const WATCHER_TIMES: WatcherTimes = { canaryMs: 2_000, blindMs: 10_000, readyMs: 900_000 };

export interface WatcherOptions {
  readonly store: OwnStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly times?: WatcherTimes;
  /** A path as the child names it: UTF-8 text relative to the store. */
  onEvent(kind: string, path: string): void;
  /** A new child stands: what happened before was seen by nobody. */
  onReady(): void;
}

export interface Watcher {
  readonly service: Service;
  /** True when every event of changes made before the call has been told. */
  barrier(signal: AbortSignal): Promise<boolean>;
  isAlive(): boolean;
  /** Of the child; null when none runs. */
  pid(): number | null;
}

const CANARY_DIRECTORY = '.twinsite/canary';
const BARRIER_MS = 3_000;
/** Events of the two subscriptions are told in turn; the other's come within this. */
const ORDER_GRACE_MS = 20;
const FRESH_CHILD_MS = 10_000;

interface Child {
  readonly lines: ChildLines;
  readonly ready: Promise<boolean>;
  stale: boolean;
  error: string | null;
}

export function createWatcher(options: WatcherOptions): Watcher {
  const { store, clock } = options;
  const times = options.times ?? WATCHER_TIMES;
  const seen = new Map<string, () => void>();
  let current: Child | null = null;
  let count = 0;

  const place = (name: string) => store.at(`${CANARY_DIRECTORY}/${name}`);
  /** Resolves true when the watcher saw a file made now. */
  const canary = async (waitMs: number, signal: AbortSignal): Promise<boolean> => {
    count += 1;
    const name = `c-${process.pid}-${count}`;
    const done = new AbortController();
    let wasSeen = false;
    seen.set(name, () => {
      wasSeen = true;
      done.abort();
    });
    try {
      await writeFile(place(name), '');
      await clock.sleep(waitMs, AbortSignal.any([signal, done.signal]));
      return wasSeen;
    } finally {
      seen.delete(name);
      await rm(place(name), { force: true }).catch(() => undefined);
    }
  };
  const onLine = (child: () => Child | null, message: unknown) => {
    const told = message as {
      events?: [string, string][];
      canary?: string;
      stale?: boolean;
      error?: string;
    };
    for (const [kind, path] of told.events ?? []) options.onEvent(kind, path);
    if (told.canary) seen.get(told.canary)?.();
    const mine = child();
    if (mine && told.stale) mine.stale = true;
    if (mine && told.error) mine.error = told.error;
  };
  const startChild = (signal: AbortSignal): Child => {
    let child: Child | null = null;
    let setReady: (ready: boolean) => void = () => undefined;
    const ready = new Promise<boolean>((resolve) => {
      setReady = resolve;
    });
    const lines = new ChildLines(selfCommand('internal', 'watch', options.store.root), {
      onLine: (message) => {
        if ((message as { ready?: boolean }).ready) setReady(true);
        onLine(() => child, message);
      },
      onEnd: (reason) => {
        if (child) child.error ??= reason;
        setReady(false);
      },
    });
    const late = clock.sleep(times.readyMs, signal).then(() => false);
    child = { lines, ready: Promise.race([ready, late]), stale: false, error: null };
    return child;
  };
  const watching = { options, times, canary, startChild };
  return {
    service: {
      name: 'files-watcher',
      run: async (context) => {
        await mkdir(store.at(CANARY_DIRECTORY), { recursive: true, mode: 0o700 });
        try {
          await run(watching, context, (child) => {
            current = child;
          });
        } finally {
          current?.lines.kill();
          current = null;
        }
      },
    },
    async barrier(signal) {
      if (!current) return false;
      const passed = await canary(BARRIER_MS, signal).catch(() => false);
      if (passed) await clock.sleep(ORDER_GRACE_MS, signal);
      return passed;
    },
    isAlive: () => current !== null,
    pid: () => current?.lines.pid ?? null,
  };
}

interface Watching {
  readonly options: WatcherOptions;
  readonly times: WatcherTimes;
  canary(waitMs: number, signal: AbortSignal): Promise<boolean>;
  startChild(signal: AbortSignal): Child;
}

async function run(
  watching: Watching,
  context: ServiceContext,
  setCurrent: (child: Child | null) => void,
): Promise<void> {
  const { options } = watching;
  let old: Child | null = null;
  try {
    while (!context.signal.aborted) {
      const child = watching.startChild(context.signal);
      const ready = await child.ready;
      old?.lines.kill();
      old = child;
      if (context.signal.aborted) return;
      if (!ready) throw new Error(`the watcher did not start: ${child.error ?? 'no answer'}`);
      setCurrent(child);
      context.ready();
      options.alarms.clear('watcher-down');
      options.onReady();
      const startedMs = context.clock.monotonicMs();
      await untilStale(watching, child, context.signal);
      const age = context.clock.monotonicMs() - startedMs;
      await context.clock.sleep(Math.max(0, FRESH_CHILD_MS - age), context.signal);
    }
  } catch (error) {
    setCurrent(null);
    options.alarms.raise({
      code: 'watcher-down',
      severity: 'warning',
      text: `changes are found by scans only: ${describeError(error)}`,
      runbook: 'operations.md#watcher-down',
    });
    throw error;
  } finally {
    old?.lines.kill();
    await old?.lines.ended;
  }
}

/** Resolves when a fresh child is wanted; throws when this one is dead or blind. */
async function untilStale(watching: Watching, child: Child, signal: AbortSignal): Promise<void> {
  const { options, times } = watching;
  while (!signal.aborted && !child.stale) {
    if (child.error !== null) throw new Error(child.error);
    const saw = await watching.canary(times.blindMs, signal);
    if (!saw && !signal.aborted) {
      throw new Error(child.error ?? `it saw nothing for ${times.blindMs} ms`);
    }
    await options.clock.sleep(times.canaryMs, signal);
  }
}
