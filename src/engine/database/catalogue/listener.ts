/** PostgreSQL's notifications, kept through lost connections. */
import { randomUUID } from 'node:crypto';
import type { Sql } from 'postgres';
import { AppError, describeError } from '../../../core/errors.ts';
import type { Service } from '../../../core/service.ts';
import { within } from './database-error.ts';

const CHECK_EVERY_MS = 5_000;
const ANSWER_WITHIN_MS = 5_000;
const PING = 'twinsite_ping';

export interface Listener {
  /** Calls back with the payload, or with null when some may have been missed. Returns the way to stop. */
  on(channel: string, listener: (payload: string | null) => void): () => void;
  /** Calls the listeners of this process, as if the notification had arrived. */
  local(channel: string, payload: string): void;
  readonly service: Service;
}

/**
 * Listens on a connection of its own. After every (re)connection all listeners are called with null:
 * what was notified in between is lost. A connection that went silent is found by a note to itself.
 */
export function createListener(sql: Sql, channels: readonly string[]): Listener {
  const listeners = new Map<string, Set<(payload: string | null) => void>>();
  const emit = (channel: string, payload: string | null) => {
    for (const listener of listeners.get(channel) ?? []) listener(payload);
  };

  return {
    on(channel, listener) {
      const set = listeners.get(channel) ?? new Set();
      listeners.set(channel, set.add(listener));
      return () => void set.delete(listener);
    },
    local: emit,
    service: {
      name: 'database-notifications',
      async run({ signal, clock, log, ready }) {
        const active: { unlisten: () => Promise<unknown> }[] = [];
        let heard = '';
        try {
          for (const channel of channels) {
            const heardOn = (payload: string) => emit(channel, payload);
            const relistened = () => emit(channel, null);
            const listening = sql.listen(channel, heardOn, relistened);
            active.push(await within(listening, clock, ANSWER_WITHIN_MS, `listen ${channel}`));
          }
          const listening = sql.listen(PING, (payload) => {
            heard = payload;
          });
          active.push(await within(listening, clock, ANSWER_WITHIN_MS, `listen ${PING}`));
          ready();
          while (!signal.aborted) {
            await clock.sleep(CHECK_EVERY_MS, signal);
            if (signal.aborted) break;
            // A word of this process: the other readers of the channel ignore it.
            const word = randomUUID();
            await within(sql.notify(PING, word), clock, ANSWER_WITHIN_MS, 'notify');
            for (let i = 0; i < 20 && heard !== word; i += 1) await clock.sleep(100, signal);
            if (heard !== word && !signal.aborted) {
              throw new AppError('database-down', 'No notification came back; listening anew.');
            }
          }
        } finally {
          for (const each of active) {
            await within(each.unlisten(), clock, 1_000, 'unlisten').catch((error: unknown) =>
              log.debug('database.unlisten', { error: describeError(error) }),
            );
          }
        }
      },
    },
  };
}
