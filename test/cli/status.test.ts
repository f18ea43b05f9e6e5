import { describe, expect, test } from 'bun:test';
import { parseAnswer, type StatusAnswer, statusAnswer } from '../../src/cli/admin/answers.ts';
import { checkStatus } from '../../src/cli/output/status-check.ts';
import { statusLines } from '../../src/cli/output/status-view.ts';
import { createOutput, plain } from '../../src/cli/output/terminal.ts';
import type { StatusDocument } from '../../src/core/status.ts';

const DOCUMENT: StatusDocument = {
  site: 'a',
  peerSite: 'b',
  state: 'paired',
  epoch: 3,
  holder: 'a',
  since: '2026-01-02T03:04:05.000Z',
  startedAt: '2026-01-02T03:00:00.000Z',
  version: '0.1.0',
  protocol: 1,
  ready: true,
  readyRead: true,
  mayBeStale: false,
  durability: 'both',
  load: 0.1,
  filestore: { path: '/home/user/filestore', target: '/home/user/san_A', store: 'a' },
  store: {
    path: '/home/user/san_A',
    id: 'x',
    health: 'ok',
    reason: null,
    freeBytes: 3 * 2 ** 30,
    totalBytes: 4 * 2 ** 30,
  },
  peerStore: null,
  peer: {
    verdict: 'alive',
    url: 'https://b:7443',
    rttMs: 0.42,
    lastHeardMs: 120,
    clockSkewMs: 1,
    version: '0.1.0',
  },
  files: {
    entries: 1234,
    bytes: 5 * 2 ** 20,
    pendingIn: 0,
    pendingOut: 0,
    oldestPendingMs: 0,
    root: '',
    lastRootMatchAt: null,
    lastFullScanAt: null,
    conflicts: 0,
    unclaimed: 0,
    healedMissing: 0,
    rowsWithoutBytes: 0,
    heldDeletes: 0,
    trash: { entries: 0, bytes: 0, oldestAt: null },
    sync: { phase: 'idle', filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0, etaMs: null },
    scrub: { lastFullAt: null, coverage: 0, rotFound: 0, rotHealed: 0 },
  },
  database: {
    mode: 'both',
    inbound: 'streaming',
    outbound: 'streaming',
    lagBytes: 0,
    lagMs: 3,
    digestOk: null,
    digestAt: null,
    walKeptBytes: 10,
    walLimitBytes: 1000,
    fullInMs: null,
    postgres: '18.4',
  },
  alarms: [],
};
const NOW = Date.parse('2026-01-02T04:04:05.000Z');
const status = (change: Partial<StatusDocument> = {}): StatusAnswer =>
  parseAnswer(statusAnswer, JSON.parse(JSON.stringify({ ...DOCUMENT, ...change })));
const ALARM = {
  code: 'store-failed',
  severity: 'critical',
  since: '2026-01-02T04:00:00.000Z',
  text: 'san_A does not answer | since a minute',
  runbook: 'operations.md#store-failed',
} as const;

describe('the view', () => {
  test('is one glance', () => {
    expect(statusLines(status(), plain, NOW)).toEqual([
      'site       a: paired with b, for 1 h 0 min   [0.1.0]',
      'deposits   taken, durable at both sites',
      'holder     a (epoch 3)',
      'filestore  /home/user/filestore -> /home/user/san_A (store of a)',
      'store      /home/user/san_A  ok, 3.0 GiB free (75 %)',
      'peer       b at https://b:7443: alive, heard 120 ms ago, round trip 0.4 ms',
      'files      1,234 (5.0 MiB), nothing pending',
      'database   in streaming, out streaming, lag 0 B, 3 ms   PostgreSQL 18.4',
      'alarms     none',
    ]);
  });

  test('says what is wrong and what to do', () => {
    const text = statusLines(
      status({ ready: false, state: 'failed', mayBeStale: true, alarms: [ALARM] }),
      plain,
      NOW,
    ).join('\n');
    expect(text).toContain('deposits   not taken now; reads are answered');
    expect(text).toContain('may be stale');
    expect(text).toContain('what to do: docs/operations.md#store-failed');
  });

  test('a site alone without identity', () => {
    const text = statusLines(status({ peer: null, peerSite: null }), plain, NOW).join('\n');
    expect(text).toContain('runs alone');
  });

  test('a document of another build is refused by the field', () => {
    expect(() => parseAnswer(statusAnswer, { ...DOCUMENT, state: 'happy' })).toThrow("at 'state'");
  });
});

describe('the check', () => {
  const cases: readonly (readonly [string, Partial<StatusDocument>, number])[] = [
    ['paired', {}, 0],
    ['alone without a peer', { state: 'alone', peerSite: null, durability: 'local' }, 0],
    ['alone', { state: 'alone', durability: 'local' }, 1],
    ['paired but local', { durability: 'local' }, 1],
    ['draining', { state: 'draining', ready: false }, 1],
    ['starting', { state: 'starting', ready: false }, 1],
    ['stale', { mayBeStale: true }, 1],
    ['a warning', { alarms: [{ ...ALARM, severity: 'warning' }] }, 1],
    ['a critical alarm', { alarms: [ALARM] }, 2],
    ['failed', { state: 'failed', ready: false }, 2],
    ['not ready', { ready: false }, 2],
  ];
  for (const [name, change, exitCode] of cases) {
    test(`${name}: ${exitCode}`, () => {
      const result = checkStatus(status(change));
      expect(result.exitCode).toBe(exitCode);
      const word = ['OK', 'WARNING', 'CRITICAL'][exitCode];
      expect(result.line).toStartWith(`TWINSITE ${word} - a `);
      expect(result.line.split('|')).toHaveLength(2);
      expect(result.line).toContain(" 'lag'=3ms;;;0 ");
    });
  }
});

describe('colours', () => {
  const output = (isTTY: boolean, env: Record<string, string>) =>
    createOutput({ stdout: { write: () => true, isTTY }, stderr: { write: () => true } }, env);
  test('only on a terminal, and not with NO_COLOR', () => {
    expect(output(true, {}).paint('red', 'x')).toBe('\u001b[31mx\u001b[0m');
    expect(output(true, { NO_COLOR: '1' }).paint('red', 'x')).toBe('x');
    expect(output(true, { TERM: 'dumb' }).paint('red', 'x')).toBe('x');
    expect(output(false, {}).paint('red', 'x')).toBe('x');
  });
});
