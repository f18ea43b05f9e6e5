/** Flushes the store's file system in a child, because syncfs would stop this process's event loop. */
import type { Clock, Log } from '../../../core/ports.ts';
import { selfCommand } from '../../../platform/self.ts';
import { ChildLines } from '../watcher/child-lines.ts';

export interface Flusher {
  /** True when everything written before is on disk; false when that is not known: fsync each file. */
  wholeStore(): Promise<boolean>;
  close(): void;
}

const DEADLINE_MS = 120_000;

/** Starts its child at the first use. After a failure the next use starts another. */
export function createFlusher(root: string, clock: Clock, log: Log): Flusher {
  let child: ChildLines | null = null;
  let count = 0;
  let closed = false;
  const waiting = new Map<number, (ok: boolean) => void>();

  const failAll = () => {
    for (const resolve of waiting.values()) resolve(false);
    waiting.clear();
  };
  const start = () =>
    new ChildLines(selfCommand('internal', 'watch', '--flush', root), {
      onLine: (line) => {
        const message = line as { flushed?: number; failed?: number; error?: string };
        const id = message.flushed ?? message.failed;
        if (id === undefined) return;
        if (message.error) log.warn('files.flush-failed', { error: message.error });
        waiting.get(id)?.(message.flushed !== undefined);
        waiting.delete(id);
      },
      onEnd: () => {
        child = null;
        failAll();
      },
    });
  return {
    async wholeStore() {
      if (closed) return false;
      child ??= start();
      const mine = child;
      count += 1;
      const id = count;
      const answer = new Promise<boolean>((resolve) => waiting.set(id, resolve));
      mine.send(`${id}\n`);
      const done = new AbortController();
      const late = clock.sleep(DEADLINE_MS, done.signal).then(() => {
        if (!done.signal.aborted) mine.kill();
        return false;
      });
      const ok = await Promise.race([answer, late]);
      done.abort();
      waiting.delete(id);
      return ok;
    },
    close() {
      closed = true;
      child?.kill();
      child = null;
      failAll();
    },
  };
}
