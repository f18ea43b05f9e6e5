import type { Clock } from '../core/ports.ts';

/** One waiter that can be woken early; a call without a waiter is not lost. */
export class Wake {
  private pending = false;
  private release: (() => void) | null = null;

  notify(): void {
    this.pending = true;
    this.release?.();
  }

  /** Resolves after `ms`, at a notify(), or when the signal aborts. */
  async wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
    if (!this.pending && !signal.aborted) {
      const woken = new AbortController();
      const abort = (): void => woken.abort();
      this.release = abort;
      signal.addEventListener('abort', abort, { once: true });
      await clock.sleep(ms, woken.signal);
      signal.removeEventListener('abort', abort);
      this.release = null;
    }
    this.pending = false;
  }
}
