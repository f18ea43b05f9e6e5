/**
 * The child that watches a store (`internal watch ROOT`) or flushes its file system
 * (`internal watch --flush ROOT`). Speaks JSON lines; ends when stdin closes, so that it never
 * outlives its parent. The watcher's native part may hang, crash or go blind: the parent kills it then.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import type { SubscribeCallback } from '@parcel/watcher';
import { createWrapper } from '@parcel/watcher/wrapper';
import { describeError, systemCode } from '../../../core/errors.ts';
import { syncFileSystem } from '../../../platform/libc.ts';
import { loadWatcherBinding } from '../../../platform/native-libraries.ts';

const EVENTS_PER_LINE = 1_000;
/** More subscriptions slow every event down: the parent then starts a fresh child. */
const MAX_SUBSCRIPTIONS = 200;

type Watcher = ReturnType<typeof createWrapper>;

function say(message: unknown): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function untilStdinCloses(onText: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of process.stdin) {
    onText(decoder.decode(chunk as Uint8Array, { stream: true }));
  }
}

/** Returns the exit code. */
export async function runWatchChild(args: readonly string[]): Promise<number> {
  const [first, second] = args;
  if (first === '--flush' && second) return runFlush(second);
  if (!first) return 2;
  return runWatch(first);
}

/** Each line is a number; the answer is `{flushed}` or `{failed, error}` with it. */
async function runFlush(root: string): Promise<number> {
  // Held open from here on: a write-back error since then is reported by the next syncfs.
  const fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  let rest = '';
  await untilStdinCloses((text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (lines.length === 0) return;
    // One flush serves everything asked for until now.
    let failure: string | null = null;
    try {
      syncFileSystem(fd);
    } catch (error) {
      failure = describeError(error);
    }
    for (const line of lines) {
      const id = Number(line);
      say(failure === null ? { flushed: id } : { failed: id, error: failure });
    }
  });
  closeSync(fd);
  return 0;
}

/**
 * Says `{ready}`, `{events: [[kind, path]]}` with paths relative to the root, `{canary: name}`,
 * `{stale}` when a fresh child would see more, `{error}` before it ends on its own.
 */
async function runWatch(configured: string): Promise<number> {
  const stopped = untilStdinCloses(() => undefined);
  try {
    // Symlinks are refused as roots.
    const root = await realpath(configured);
    const watcher = createWrapper(await loadWatcherBinding());
    await watchTree(watcher, root);
    say({ ready: true });
  } catch (error) {
    say({ error: describeError(error) });
    await flushed();
    return 1;
  }
  await stopped;
  // Unsubscribing may throw or hang after lost events; the process ends anyway.
  process.exit(0);
}

function flushed(): Promise<void> {
  return new Promise((resolve) => process.stdout.write('', () => resolve()));
}

async function watchTree(watcher: Watcher, root: string): Promise<void> {
  const nested = new Set<string>();
  const onEvents: SubscribeCallback = (error, events) => {
    if (error) {
      say({ error: describeError(error) });
      process.exit(1);
    }
    const told = events
      .filter((event) => event.path !== root && event.path.startsWith(`${root}/`))
      .map((event) => [event.type, event.path.slice(root.length + 1)] as const);
    for (let at = 0; at < told.length; at += EVENTS_PER_LINE) {
      say({ events: told.slice(at, at + EVENTS_PER_LINE) });
    }
    for (const event of events) {
      if (event.type === 'create') void follow(event.path);
      else if (event.type === 'delete') nested.delete(event.path);
    }
  };
  const ignore = [path.join(root, '.twinsite'), path.join(root, 'deposits')];
  /** A new directory that already holds directories: those are watched by nobody yet. */
  const follow = async (created: string) => {
    try {
      if (ignore.includes(created) || !(await lstat(created)).isDirectory()) return;
      const names = await readdir(created, { withFileTypes: true });
      if (!names.some((name) => name.isDirectory()) || nested.has(created)) return;
      nested.add(created);
      await watcher.subscribe(created, onEvents, { backend: 'inotify', ignore: [] });
      // What was written before the subscription stood was told by nobody.
      say({ events: [['create', created.slice(root.length + 1)]] });
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') say({ stale: true });
    }
    if (nested.size > MAX_SUBSCRIPTIONS) say({ stale: true });
  };
  const onCanary: SubscribeCallback = (error, events) => {
    if (error) {
      say({ error: describeError(error) });
      process.exit(1);
    }
    for (const event of events) say({ canary: path.basename(event.path) });
  };
  await watcher.subscribe(path.join(root, '.twinsite', 'canary'), onCanary, {
    backend: 'inotify',
    ignore: [],
  });
  await watcher.subscribe(root, onEvents, { backend: 'inotify', ignore });
}
