/** Counts running requests, so that a drain knows when nothing runs any more. */
export interface InFlight {
  /** Counts one request in; call the result when its answer has been given out (twice is harmless). */
  enter(): () => void;
  inFlight(): number;
  /** Resolves when nothing runs, or when the signal aborts. */
  whenIdle(signal?: AbortSignal): Promise<void>;
}

export function createInFlight(): InFlight {
  let running = 0;
  const waiting = new Set<() => void>();
  return {
    enter() {
      running += 1;
      let left = false;
      return () => {
        if (left) return;
        left = true;
        running -= 1;
        if (running > 0) return;
        for (const wake of [...waiting]) wake();
      };
    },
    inFlight: () => running,
    whenIdle: (signal) =>
      new Promise((resolve) => {
        if (running === 0 || signal?.aborted) return resolve();
        const done = () => {
          waiting.delete(done);
          signal?.removeEventListener('abort', done);
          resolve();
        };
        waiting.add(done);
        signal?.addEventListener('abort', done, { once: true });
      }),
  };
}
