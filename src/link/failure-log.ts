/** Tells each trouble with the peer once, repeats at debug, and says when it is over. */
import type { Clock, Log, Metrics } from '../core/ports.ts';
import { MAX_REMEMBERED_FAILURES } from './limits.ts';

export type Direction = 'outbound' | 'inbound';

export interface FailureLog {
  /** `text` is the whole reason in one sentence; `address` says whom it concerns. */
  failed(direction: Direction, address: string, reason: string, text: string): void;
  /** A connection stands. Outbound: all is well; inbound: with this address. */
  connected(direction: Direction, address: string, version: string): void;
  /** The latest failure that nothing has mended since; null when all is well. */
  last(): string | null;
}

/** How a port scanner fails; it says nothing about the peer. */
const STRANGERS_REASONS: ReadonlySet<string> = new Set([
  'busy',
  'closed',
  'hello-timeout',
  'no-certificate',
  'not-twinsite',
  'reset',
  'timeout',
  'tls',
]);

interface Trouble {
  readonly texts: Set<string>;
  readonly sinceMs: number;
  count: number;
}

export function createFailureLog(options: {
  readonly log: Log;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly peer: string;
}): FailureLog {
  const { log, clock, metrics, peer } = options;
  const troubles = new Map<string, Trouble>();
  const told = new Set<Direction>();
  let last: { readonly direction: Direction; readonly text: string } | null = null;
  // Going out there is one peer, whatever its addresses; coming in, each address is its own story.
  const keyOf = (direction: Direction, address: string) =>
    direction === 'outbound' ? direction : `${direction} ${address}`;
  const count = (direction: Direction, outcome: string) =>
    metrics.count('link_connections_total', 'Connections with the peer by outcome.', {
      direction,
      outcome,
    });
  return {
    failed(direction, address, reason, text) {
      count(direction, reason);
      const key = keyOf(direction, address);
      const trouble = troubles.get(key) ?? {
        texts: new Set<string>(),
        sinceMs: clock.monotonicMs(),
        count: 0,
      };
      if (troubles.size >= MAX_REMEMBERED_FAILURES && !troubles.has(key)) troubles.clear();
      if (trouble.texts.size >= MAX_REMEMBERED_FAILURES) trouble.texts.clear();
      troubles.set(key, trouble);
      trouble.count += 1;
      const line = `${address} ${text}`;
      log[trouble.texts.has(line) ? 'debug' : 'warn']('link.failed', {
        direction,
        peer,
        address,
        reason,
        text,
      });
      trouble.texts.add(line);
      if (direction === 'outbound' || !STRANGERS_REASONS.has(reason))
        last = { direction, text: `${direction} ${address}: ${text}` };
    },
    connected(direction, address, version) {
      count(direction, 'ok');
      const key = keyOf(direction, address);
      const trouble = troubles.get(key);
      troubles.delete(key);
      if (last && (last.direction === direction || direction === 'outbound')) last = null;
      if (trouble)
        log.info('link.recovered', {
          direction,
          peer,
          address,
          version,
          failures: trouble.count,
          afterMs: Math.round(clock.monotonicMs() - trouble.sinceMs),
        });
      else
        log[told.has(direction) ? 'debug' : 'info']('link.connected', {
          direction,
          peer,
          address,
          version,
        });
      told.add(direction);
    },
    last: () => last?.text ?? null,
  };
}
