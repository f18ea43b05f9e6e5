/** The status document as one glance for people. */
import { formatDuration, formatSize } from '../../core/units.ts';
import type { StatusAnswer } from '../admin/answers.ts';
import { alignColumns } from './table.ts';
import type { Colour, Paint } from './terminal.ts';

const STATE_COLOURS: Readonly<Record<StatusAnswer['state'], Colour>> = {
  starting: 'yellow',
  joining: 'yellow',
  paired: 'green',
  alone: 'yellow',
  draining: 'yellow',
  failed: 'red',
};

/** Lines for a terminal or a pipe; `nowMs` is wall time, for ages only. */
export function statusLines(status: StatusAnswer, paint: Paint, nowMs: number): string[] {
  const rows: [string, string][] = [
    ['site', siteText(status, paint, nowMs)],
    ['deposits', depositsText(status, paint)],
    ['holder', `${status.holder ?? 'none yet'} (epoch ${status.epoch})`],
    ['filestore', filestoreText(status)],
    ['store', storeText(status.store, paint)],
    ...(status.peerStore === null
      ? []
      : [['peer store', storeText(status.peerStore, paint)] as [string, string]]),
    ['peer', peerText(status, paint)],
    ['files', filesText(status, paint)],
    ['database', databaseText(status, paint)],
  ];
  const table = alignColumns(rows.map(([label, text]) => [paint('bold', label), text]));
  return [...table, ...alarmLines(status, paint)];
}

function siteText(status: StatusAnswer, paint: Paint, nowMs: number): string {
  const age = nowMs - Date.parse(status.since);
  const since = Number.isFinite(age) && age >= 0 ? `, for ${formatDuration(age)}` : '';
  const withPeer = status.state === 'paired' && status.peerSite ? ` with ${status.peerSite}` : '';
  const stale = status.mayBeStale ? paint('yellow', ' (may be stale: the peer was not met)') : '';
  const state = paint(STATE_COLOURS[status.state], `${status.state}${withPeer}`);
  return `${status.site}: ${state}${since}${stale}   [${status.version}]`;
}

function depositsText(status: StatusAnswer, paint: Paint): string {
  if (!status.ready) {
    const reads = status.readyRead ? 'reads are answered' : 'reads are not answered either';
    return paint('red', `not taken now; ${reads}`);
  }
  return status.durability === 'both'
    ? paint('green', 'taken, durable at both sites')
    : paint('yellow', 'taken, durable here only (local)');
}

function filestoreText(status: StatusAnswer): string {
  const { path, target, store } = status.filestore;
  return `${path} -> ${target ?? 'nothing'}${store === null ? '' : ` (store of ${store})`}`;
}

function storeText(store: StatusAnswer['store'], paint: Paint): string {
  if (store.health === 'failed') {
    return `${store.path}  ${paint('red', `failed: ${store.reason ?? 'no reason given'}`)}`;
  }
  const percent = store.totalBytes > 0 ? Math.round((100 * store.freeBytes) / store.totalBytes) : 0;
  return `${store.path}  ${paint('green', 'ok')}, ${formatSize(store.freeBytes)} free (${percent} %)`;
}

function peerText(status: StatusAnswer, paint: Paint): string {
  const { peer } = status;
  if (peer === null) return 'none: this site has no identity and runs alone';
  const verdict = paint(peer.verdict === 'alive' ? 'green' : 'yellow', peer.verdict);
  const heard =
    peer.lastHeardMs === null ? 'never heard' : `heard ${formatDuration(peer.lastHeardMs)} ago`;
  const roundTrip = peer.rttMs === null ? '' : `, round trip ${peer.rttMs.toFixed(1)} ms`;
  return `${status.peerSite ?? '?'} at ${peer.url}: ${verdict}, ${heard}${roundTrip}`;
}

function filesText(status: StatusAnswer, paint: Paint): string {
  const { files } = status;
  const parts = [`${files.entries.toLocaleString('en')} (${formatSize(files.bytes)})`];
  const pending = files.pendingIn + files.pendingOut;
  parts.push(
    pending === 0
      ? 'nothing pending'
      : paint(
          'yellow',
          `pending ${files.pendingIn} in, ${files.pendingOut} out, oldest ${formatDuration(files.oldestPendingMs)}`,
        ),
  );
  if (files.sync.phase !== 'idle') {
    const eta = files.sync.etaMs === null ? '' : `, ${formatDuration(files.sync.etaMs)} to go`;
    parts.push(`${files.sync.phase} sync ${files.sync.filesDone}/${files.sync.filesTotal}${eta}`);
  }
  if (files.conflicts > 0) parts.push(paint('yellow', `${files.conflicts} conflict copies`));
  if (files.heldDeletes > 0) parts.push(paint('red', `${files.heldDeletes} deletes held`));
  if (files.rowsWithoutBytes > 0) {
    parts.push(paint('yellow', `${files.rowsWithoutBytes} records wait for their bytes`));
  }
  return parts.join(', ');
}

function databaseText(status: StatusAnswer, paint: Paint): string {
  const { database } = status;
  const flow = (name: string, health: StatusAnswer['database']['inbound']) =>
    `${name} ${paint(health === 'streaming' ? 'green' : 'yellow', health)}`;
  const lag = `lag ${formatSize(database.lagBytes)}, ${formatDuration(database.lagMs)}`;
  const flows = `${flow('in', database.inbound)}, ${flow('out', database.outbound)}`;
  return status.peer === null
    ? `PostgreSQL ${database.postgres}`
    : `${flows}, ${lag}   PostgreSQL ${database.postgres}`;
}

function alarmLines(status: StatusAnswer, paint: Paint): string[] {
  if (status.alarms.length === 0) return [`${paint('bold', 'alarms')}     none`];
  return [
    paint('bold', 'alarms'),
    ...status.alarms.flatMap((alarm) => [
      `  ${paint(alarm.severity === 'critical' ? 'red' : 'yellow', alarm.severity)} ${alarm.code} (since ${alarm.since}): ${alarm.text}`,
      `      what to do: docs/${alarm.runbook}`,
    ]),
  ];
}
