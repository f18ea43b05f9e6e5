/** The alarms of replication: raised and cleared by each look. */
import type { Alarms, Clock } from '../../../core/ports.ts';
import type { PeerFacts } from './facts.ts';
import type { Health } from './health.ts';
import type { Observation } from './observe.ts';

const DOWN_ALARM_AFTER_MS = 10_000;
/** Half of what may be kept for an absent peer. */
const KEPT_SHARE = 0.5;

export interface ReplicationAlarms {
  update(seen: Observation, facts: PeerFacts | null, health: Health): void;
  /** Stands until rows flow both ways again and all copies are complete. */
  rolledBack(): void;
}

export function createReplicationAlarms(alarms: Alarms, clock: Clock): ReplicationAlarms {
  let downSinceMs: number | null = null;

  const set = (
    wrong: boolean,
    code: string,
    severity: 'warning' | 'critical',
    text: () => string,
  ) => {
    if (wrong) alarms.raise({ code, severity, text: text(), runbook: `operations.md#${code}` });
    else alarms.clear(code);
  };

  return {
    update(seen, facts, health) {
      const now = clock.monotonicMs();
      const { status } = health;
      downSinceMs = status.inbound === 'down' ? (downSinceMs ?? now) : null;
      set(
        downSinceMs !== null && now - downSinceMs >= DOWN_ALARM_AFTER_MS,
        'replication-inbound-down',
        'warning',
        () => 'Rows of the peer do not arrive. Deposits made here are answered `local`.',
      );
      set(
        seen.divergentRows > 0,
        'rows-diverge',
        'critical',
        () =>
          `${seen.divergentRows} rows of the peer differ from rows of the same key here; both are kept (node.divergent_rows).`,
      );
      set(
        seen.slot?.lost === true || facts?.slot === 'lost',
        'slot-lost',
        'warning',
        () => 'The log was not kept long enough for an absent site; its rows are copied anew.',
      );
      set(
        status.walLimitBytes > 0 && status.walKeptBytes > status.walLimitBytes * KEPT_SHARE,
        'wal-kept',
        'warning',
        () =>
          `${status.walKeptBytes} bytes of log are kept for the peer; at ${status.walLimitBytes} it must be copied anew.`,
      );
      set(
        facts !== null && facts.schema !== seen.schema,
        'schema-differs',
        'warning',
        () => 'The sites run releases with different tables: upgrade the older one.',
      );
      if (health.allReady && status.mode === 'both') alarms.clear('database-rolled-back');
    },
    rolledBack() {
      alarms.raise({
        code: 'database-rolled-back',
        severity: 'critical',
        text: 'This database was restored from an older state: all rows are copied anew both ways.',
        runbook: 'operations.md#database-rolled-back',
      });
    },
  };
}
