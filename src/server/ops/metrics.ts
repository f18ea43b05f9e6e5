/** Gauges that are taken from the status document whenever the metrics are scraped. */
import type { Metrics } from '../../core/ports.ts';
import type { StatusDocument } from '../../core/status.ts';

const STATES = ['starting', 'joining', 'paired', 'alone', 'draining', 'failed'] as const;
const flag = (value: boolean): number => (value ? 1 : 0);

/** Copies what the status says into gauges; call before the text is made. */
export function refreshGauges(metrics: Metrics, status: StatusDocument): void {
  const { files, database, store, peer } = status;
  const gauges: readonly (readonly [string, string, number])[] = [
    ['ready', 'A deposit would be accepted now', flag(status.ready)],
    ['ready_read', 'Records and files can be read now', flag(status.readyRead)],
    [
      'durability_both',
      'A deposit made now would be durable at both sites',
      flag(status.durability === 'both'),
    ],
    ['may_be_stale', 'This site serves without having met its peer', flag(status.mayBeStale)],
    ['holder', 'This site holds', flag(status.holder === status.site)],
    ['epoch', 'The number of the epoch', status.epoch],
    ['load', 'Load from 0 to 1, as the balancer is told', status.load],
    ['alarms', 'Alarms that stand now', status.alarms.length],
    ['store_healthy', 'The own store is healthy', flag(store.health === 'ok')],
    ['store_free_bytes', 'Free space of the own store', store.freeBytes],
    ['store_total_bytes', 'Size of the own store', store.totalBytes],
    ['files_entries', 'Entries in the merged tree', files.entries],
    ['files_bytes', 'Bytes in the merged tree', files.bytes],
    ['files_pending_in', 'Files to be pulled from the peer', files.pendingIn],
    ['files_pending_out', 'Files that the peer has not confirmed', files.pendingOut],
    [
      'files_oldest_pending_seconds',
      'Age of the oldest pending file',
      files.oldestPendingMs / 1000,
    ],
    ['files_conflicts', 'Conflict copies', files.conflicts],
    ['files_unclaimed', 'Files under deposits/ that no row claims', files.unclaimed],
    [
      'files_rows_without_bytes',
      'Rows whose bytes are not in the own store',
      files.rowsWithoutBytes,
    ],
    ['files_held_deletes', 'Deletes that wait for a person', files.heldDeletes],
    ['files_trash_bytes', 'Bytes in the trash', files.trash.bytes],
    ['database_lag_bytes', 'What the peer has not confirmed of the log', database.lagBytes],
    ['database_lag_seconds', 'The same in time', database.lagMs / 1000],
    ['database_wal_kept_bytes', 'Log kept for the peer', database.walKeptBytes],
    ['database_wal_limit_bytes', 'Log that is kept at most', database.walLimitBytes],
    ['database_inbound_streaming', 'Rows stream in', flag(database.inbound === 'streaming')],
    ['database_outbound_streaming', 'Rows stream out', flag(database.outbound === 'streaming')],
    ['peer_alive', 'The peer is heard', flag(peer?.verdict === 'alive')],
    ['peer_rtt_seconds', 'Round trip to the peer', (peer?.rttMs ?? 0) / 1000],
    [
      'peer_clock_skew_seconds',
      'Clock of the peer against the own',
      (peer?.clockSkewMs ?? 0) / 1000,
    ],
  ];
  for (const [name, help, value] of gauges) metrics.gauge(name, help, value);
  for (const state of STATES) {
    metrics.gauge('state', 'The state of the site', flag(status.state === state), { state });
  }
}
