import { AppError, describeError } from './errors.ts';
import type { Clock, Log } from './ports.ts';
import { restartDelayMs, type Service } from './service.ts';

export interface SupervisorOptions {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
  /** In [0,1); spreads restarts. */
  readonly random: () => number;
  readonly onReady?: (service: string) => void;
}

/**
 * Runs a service until the signal aborts: a rejection is answered with a restart after a doubling
 * delay (at most 10 s). An AppError of kind `fatal` is rethrown: the whole process must stop.
 * Resolves only when the service has ended, so that stopping means stopped.
 */
export async function supervise(service: Service, options: SupervisorOptions): Promise<void> {
  const { signal, clock } = options;
  const log = options.log.child({ service: service.name });
  let failures = 0;
  let lastText = '';
  while (!signal.aborted) {
    try {
      await service.run({
        signal,
        clock,
        log,
        ready: () => {
          failures = 0;
          options.onReady?.(service.name);
        },
      });
      if (signal.aborted) return;
      throw new Error('ended without being asked to');
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof AppError && error.kind === 'fatal') throw error;
      failures += 1;
      const delayMs = restartDelayMs(failures, options.random());
      const text = describeError(error);
      // The same failure again is no news; it is told once, and again whenever it changes.
      const level = text === lastText ? 'debug' : failures > 3 ? 'error' : 'warn';
      log[level]('service.restart', { error: text, failures, delayMs });
      lastText = text;
      await clock.sleep(delayMs, signal);
    }
  }
}
