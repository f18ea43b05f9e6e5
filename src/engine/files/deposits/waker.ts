import type { Clock } from '../../../core/ports.ts';

/** Lets a service sleep until its time or until there is work. */
export interface Waker {
  wake(): void;
  /** Resolves after `ms`, when woken (also if that was before the call), or when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export function createWaker(clock: Clock): Waker {
  let woken = false;
  let ring: (() => void) | null = null;
  return {
    wake() {
      woken = true;
      ring?.();
    },
    async wait(ms, signal) {
      if (!woken && !signal.aborted) {
        const done = new AbortController();
        ring = () => done.abort();
        await clock.sleep(ms, AbortSignal.any([signal, done.signal]));
        ring = null;
      }
      woken = false;
    },
  };
}
