import { AppError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';

export interface Deadline {
  /** Aborts at the deadline or with the caller's signal; its reason is an AppError `peer-timeout`. */
  readonly signal: AbortSignal;
  /** Frees the timer. Call it always. */
  done(): void;
}

/** A caller's signal and time limit as one signal. `what` begins the sentence of the error. */
export function startDeadline(
  clock: Clock,
  timeoutMs: number,
  outer: AbortSignal | undefined,
  what: string,
): Deadline {
  const controller = new AbortController();
  const timer = new AbortController();
  const giveUp = (text: string) =>
    controller.abort(new AppError('peer-timeout', `${what}: ${text}`));
  const onOuter = () => giveUp('the caller gave up');
  if (outer?.aborted) onOuter();
  outer?.addEventListener('abort', onOuter, { once: true });
  void clock.sleep(timeoutMs, timer.signal).then(() => {
    if (!timer.signal.aborted) giveUp(`not done within ${Math.round(timeoutMs)} ms`);
  });
  return {
    signal: controller.signal,
    done() {
      timer.abort();
      outer?.removeEventListener('abort', onOuter);
    },
  };
}

/** The promise's outcome, or the signal's reason if that comes first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => undefined);
    return Promise.reject(signal.reason as Error);
  }
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
