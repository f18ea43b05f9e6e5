/** `status --check`: the monitoring-plugins convention. */
import type { StatusAnswer } from '../admin/answers.ts';

export const CHECK = { ok: 0, warning: 1, critical: 2, unknown: 3 } as const;
const WORDS = ['OK', 'WARNING', 'CRITICAL', 'UNKNOWN'] as const;

export interface CheckResult {
  readonly exitCode: number;
  /** One line with performance data. */
  readonly line: string;
}

/** What a monitoring system shall think of this site. */
export function checkStatus(status: StatusAnswer): CheckResult {
  const critical = criticalReasons(status);
  const warnings = warningReasons(status);
  const exitCode =
    critical.length > 0 ? CHECK.critical : warnings.length > 0 ? CHECK.warning : CHECK.ok;
  const reasons = [...critical, ...warnings];
  const peer = status.peerSite === null ? '' : ` with ${status.peerSite}`;
  const state = `${status.site} ${status.state}${status.state === 'paired' ? peer : ''}`;
  const said = [state, `durability ${status.durability}`, ...reasons].join(', ');
  return { exitCode, line: `${checkLine(exitCode, said)} | ${performanceData(status)}` };
}

/** `TWINSITE CRITICAL - text`, on one line and without the separator of performance data. */
export function checkLine(exitCode: number, text: string): string {
  return `TWINSITE ${WORDS[exitCode] ?? 'UNKNOWN'} - ${text.replace(/[|\n]/g, ' ')}`;
}

function criticalReasons(status: StatusAnswer): string[] {
  const reasons = status.alarms
    .filter((alarm) => alarm.severity === 'critical')
    .map((alarm) => `${alarm.code}: ${alarm.text}`);
  if (status.state === 'failed') reasons.push(`store: ${status.store.reason ?? 'failed'}`);
  const settling = ['starting', 'joining', 'draining', 'failed'].includes(status.state);
  if (!status.ready && !settling) reasons.push('deposits are not taken');
  return reasons;
}

function warningReasons(status: StatusAnswer): string[] {
  const reasons = status.alarms
    .filter((alarm) => alarm.severity === 'warning')
    .map((alarm) => `${alarm.code}: ${alarm.text}`);
  if (['starting', 'joining', 'draining'].includes(status.state)) reasons.push('no deposits now');
  if (status.peerSite !== null && status.state === 'alone') reasons.push('the peer is away');
  if (status.state === 'paired' && status.durability === 'local') {
    reasons.push('deposits are durable here only');
  }
  if (status.mayBeStale) reasons.push('may be stale');
  return reasons;
}

function performanceData(status: StatusAnswer): string {
  const { files, database, store } = status;
  const values: readonly (readonly [string, string])[] = [
    ['lag', `${Math.round(database.lagMs)}ms;;;0`],
    ['lag_bytes', `${database.lagBytes}B;;;0`],
    ['wal_kept', `${database.walKeptBytes}B;;;0;${database.walLimitBytes}`],
    ['pending_in', `${files.pendingIn};;;0`],
    ['pending_out', `${files.pendingOut};;;0`],
    ['oldest_pending', `${Math.round(files.oldestPendingMs)}ms;;;0`],
    ['store_free', `${store.freeBytes}B;;;0;${store.totalBytes}`],
    ['alarms', `${status.alarms.length};;;0`],
  ];
  return values.map(([name, value]) => `'${name}'=${value}`).join(' ');
}
