/** One at a time per key, first come first served. */
export interface KeyedLock {
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

export function createKeyedLock(): KeyedLock {
  const tails = new Map<string, Promise<unknown>>();
  return {
    async run(key, work) {
      const before = tails.get(key) ?? Promise.resolve();
      const mine = before.then(work, work);
      // The tail must never reject: whoever queues behind is not concerned by our failure.
      const tail = mine.catch(() => undefined);
      tails.set(key, tail);
      try {
        return await mine;
      } finally {
        if (tails.get(key) === tail) tails.delete(key);
      }
    },
  };
}

/** At most `limit` holders at once; waiting ends with the signal (returns null then). */
export interface Semaphore {
  acquire(signal?: AbortSignal): Promise<(() => void) | null>;
}

export function createSemaphore(limit: number): Semaphore {
  let free = limit;
  const waiting = new Set<() => void>();
  const release = () => {
    const next = waiting.values().next();
    if (next.done) {
      free += 1;
      return;
    }
    waiting.delete(next.value);
    next.value();
  };
  const once = () => {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      release();
    };
  };
  return {
    async acquire(signal) {
      if (signal?.aborted) return null;
      if (free > 0) {
        free -= 1;
        return once();
      }
      const got = await new Promise<boolean>((resolve) => {
        const grant = () => {
          signal?.removeEventListener('abort', cancel);
          resolve(true);
        };
        const cancel = () => {
          waiting.delete(grant);
          resolve(false);
        };
        waiting.add(grant);
        signal?.addEventListener('abort', cancel, { once: true });
      });
      return got ? once() : null;
    },
  };
}
