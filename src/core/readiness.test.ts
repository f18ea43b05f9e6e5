import { expect, test } from 'bun:test';
import type { SiteView } from './ports.ts';
import { decideReadiness, hasServed, type ReadinessFacts } from './readiness.ts';

const view = (state: SiteView['state'], verdict: SiteView['verdict'] = 'alive'): SiteView => ({
  state,
  epoch: null,
  holder: null,
  since: '',
  verdict,
  mayBeStale: false,
});
const good: ReadinessFacts = {
  view: view('paired'),
  served: true,
  storeHealth: { ok: true },
  databaseUp: true,
  freeBytes: 100,
  minFreeBytes: 10,
  hasPeer: true,
  requireBoth: false,
  attestorAnswering: true,
};
const failed = { ok: false, reason: 'EIO' } as const;

test.each([
  ['all well', {}, true, true, 'both', 'not-ready'],
  ['starting', { view: view('starting') }, false, false, 'both', 'not-ready'],
  [
    'joining before it served',
    { view: view('joining'), served: false },
    false,
    false,
    'both',
    'not-ready',
  ],
  ['joining again', { view: view('joining') }, true, true, 'both', 'not-ready'],
  [
    'alone',
    { view: view('alone', 'lost'), attestorAnswering: false },
    true,
    true,
    'local',
    'not-ready',
  ],
  [
    'alone, the attestor has not noticed',
    { view: view('alone', 'lost') },
    true,
    true,
    'local',
    'not-ready',
  ],
  [
    'no peer at all',
    { view: view('alone', 'unknown'), hasPeer: false },
    true,
    true,
    'local',
    'not-ready',
  ],
  ['draining', { view: view('draining') }, false, true, 'both', 'not-ready'],
  [
    'failed, the peer has the bytes',
    { view: view('failed'), storeHealth: failed },
    false,
    true,
    'both',
    'not-ready',
  ],
  [
    'failed and alone',
    { view: view('failed', 'lost'), storeHealth: failed },
    false,
    false,
    'local',
    'not-ready',
  ],
  ['store failed a moment ago', { storeHealth: failed }, false, true, 'both', 'not-ready'],
  ['database down', { databaseUp: false }, false, false, 'both', 'not-ready'],
  ['no space', { freeBytes: 9 }, false, true, 'both', 'storage'],
  ['space not known yet', { freeBytes: null }, true, true, 'both', 'not-ready'],
  [
    'draining without space',
    { view: view('draining'), freeBytes: 9 },
    false,
    true,
    'both',
    'not-ready',
  ],
  ['stalled', { attestorAnswering: false }, true, true, 'local', 'not-ready'],
  [
    'stalled with --require-both',
    { attestorAnswering: false, requireBoth: true },
    false,
    true,
    'local',
    'not-ready',
  ],
  ['answering with --require-both', { requireBoth: true }, true, true, 'both', 'not-ready'],
] as const)('%s', (_, facts, ready, readyRead, durability, code) => {
  const decided = decideReadiness({ ...good, ...facts });
  expect(decided).toMatchObject({ ready, readyRead, durability, code });
  expect(decided.reason === null).toBe(ready);
});

test('the latch holds once set', () => {
  expect(hasServed(false, view('joining'))).toBe(false);
  expect(hasServed(false, view('paired'))).toBe(true);
  expect(hasServed(false, view('alone'))).toBe(true);
  expect(hasServed(true, view('joining'))).toBe(true);
});
