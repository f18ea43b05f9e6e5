import type { Alarm, Alarms, Clock, Log } from '../core/ports.ts';
import { rfc3339 } from './clock.ts';

/** Keeps what is wrong now. Each change is one log line; a standing alarm is not repeated. */
export function createAlarms(clock: Clock, log: Log): Alarms {
  const active = new Map<string, Alarm & { readonly since: string }>();
  return {
    raise(alarm) {
      const known = active.get(alarm.code);
      active.set(alarm.code, { ...alarm, since: known?.since ?? rfc3339(clock.wallMs()) });
      if (!known)
        log[alarm.severity === 'critical' ? 'error' : 'warn']('alarm.raised', { ...alarm });
    },
    clear(code) {
      if (active.delete(code)) log.info('alarm.cleared', { code });
    },
    list: () => [...active.values()],
  };
}
