import { describe, expect, test } from 'bun:test';
import {
  planSubscription,
  relationsReady,
  type SeenOfMe,
  type SubscriptionActual,
  type SubscriptionSituation,
  wasRolledBack,
} from './subscription-plan.ts';

const own = { systemId: '1', incarnation: 'own' };
const peerIdentity = { systemId: '2', incarnation: 'peer' };
const tables = ['deposit_files', 'deposits', 'events'];
const ready = { deposits: 'r', deposit_files: 'r', events: 'r' };
const facts = {
  identity: peerIdentity,
  schema: 's1',
  publishedTables: tables,
  slot: 'active',
} as const;
const subscription: SubscriptionActual = {
  enabled: true,
  slotName: 'twinsite_a',
  settingsRight: true,
  publications: ['twinsite'],
  relations: ready,
};
const healthy: SubscriptionSituation = {
  own,
  schema: 's1',
  slotName: 'twinsite_a',
  publication: 'twinsite',
  publicationRight: true,
  subscription,
  madeFor: { peer: peerIdentity, own },
  leftoverOrigins: [],
  peer: facts,
};

const create = ['fresh-slot', 'remember', 'create'];
const replace = ['disable', 'detach', 'drop', ...create];
const other = { systemId: '3', incarnation: 'peer' };

const cases: [string, Partial<SubscriptionSituation>, string[]][] = [
  ['all is well', {}, []],
  ['the peer is away', { peer: null }, []],
  ['no publication yet', { publicationRight: false }, ['publish']],
  ['leftover origins', { leftoverOrigins: ['pg_9', 'pg_9_8'] }, ['drop-origin', 'drop-origin']],
  ['nothing there, peer away', { subscription: null, madeFor: null, peer: null }, ['wait']],
  ['nothing there, peer ready', { subscription: null, madeFor: null }, create],
  [
    'nothing there, the peer publishes nothing yet',
    { subscription: null, madeFor: null, peer: { ...facts, publishedTables: null } },
    ['wait'],
  ],
  [
    'nothing there, schemas differ',
    { subscription: null, madeFor: null, peer: { ...facts, schema: 's2' } },
    ['wait'],
  ],
  [
    'both are new: publish first, then subscribe',
    { publicationRight: false, subscription: null, madeFor: null },
    ['publish', ...create],
  ],
  ['someone disabled it', { subscription: { ...subscription, enabled: false } }, ['enable']],
  [
    'someone changed a setting',
    { subscription: { ...subscription, settingsRight: false } },
    ['configure'],
  ],
  [
    'settings are put right while the peer is away',
    { peer: null, subscription: { ...subscription, settingsRight: false, enabled: false } },
    ['configure', 'enable'],
  ],
  [
    'a table is published that was not copied',
    { subscription: { ...subscription, relations: { deposits: 'r', events: 'r' } } },
    ['refresh'],
  ],
  [
    'a table more, but the schemas differ',
    { peer: { ...facts, schema: 's2', publishedTables: [...tables, 'notes'] } },
    ['wait'],
  ],
  ['the slot is gone', { peer: { ...facts, slot: 'missing' } }, replace],
  ['the slot is lost', { peer: { ...facts, slot: 'lost' } }, replace],
  ['the slot is there but unused', { peer: { ...facts, slot: 'idle' } }, []],
  ['another cluster answers', { peer: { ...facts, identity: other } }, replace],
  [
    'another cluster answers and is not migrated: let go of the old one at once',
    { peer: { ...facts, identity: other, schema: '' } },
    ['disable', 'detach', 'drop', 'wait'],
  ],
  [
    'the peer was rolled back',
    { peer: { ...facts, identity: { systemId: '2', incarnation: 'newer' } } },
    replace,
  ],
  ['this database was rolled back', { own: { ...own, incarnation: 'newer' } }, replace],
  [
    'this database was rolled back and the peer is away',
    { own: { ...own, incarnation: 'newer' }, peer: null },
    ['disable', 'detach', 'drop', 'wait'],
  ],
  ['it is not known what it was made for', { madeFor: null }, replace],
  [
    'cut off after disable',
    { peer: { ...facts, slot: 'lost' }, subscription: { ...subscription, enabled: false } },
    ['detach', 'drop', ...create],
  ],
  [
    'cut off after detach',
    { subscription: { ...subscription, enabled: false, slotName: null } },
    ['drop', ...create],
  ],
  ['cut off after drop', { subscription: null }, create],
  ['cut off after fresh-slot', { subscription: null, peer: { ...facts, slot: 'idle' } }, create],
  ['made with other tables', { subscription: { ...subscription, publications: ['x'] } }, replace],
];

describe('planSubscription', () => {
  test.each(cases)('%s', (_name, change, kinds) => {
    const plan = planSubscription({ ...healthy, ...change });
    expect(plan.map((step): string => step.kind)).toEqual(kinds);
  });

  test('what it was made for is remembered between dropping the old and creating the new', () => {
    const plan = planSubscription({ ...healthy, peer: { ...facts, identity: other } });
    const remember = plan.find((step) => step.kind === 'remember');
    expect(remember).toEqual({ kind: 'remember', madeFor: { peer: other, own } });
  });
});

describe('relationsReady', () => {
  test.each<[string, SubscriptionActual | null, readonly string[] | null, boolean]>([
    ['all ready', subscription, tables, true],
    ['no subscription', null, tables, false],
    ['disabled', { ...subscription, enabled: false }, tables, false],
    ['copying', { ...subscription, relations: { ...ready, events: 'd' } }, tables, false],
    ['catching up', { ...subscription, relations: { ...ready, events: 's' } }, tables, false],
    ['one missing', { ...subscription, relations: { deposits: 'r', events: 'r' } }, tables, false],
    ['published tables unknown', subscription, null, false],
  ])('%s', (_name, actual, published, expected) => {
    expect(relationsReady(actual, published)).toBe(expected);
  });
});

describe('wasRolledBack', () => {
  const me = { identity: own, lsn: '0/200', marks: ['m2', 'm1'] };
  test.each<[string, SeenOfMe | null, boolean]>([
    ['the peer saw nothing', null, false],
    ['it saw less', { identity: own, lsn: '0/100', mark: 'm1' }, false],
    ['it saw all', { identity: own, lsn: '0/200', mark: 'm2' }, false],
    ['it saw more', { identity: own, lsn: '0/201', mark: 'm2' }, true],
    ['it knows a mark that is not here', { identity: own, lsn: '0/100', mark: 'm3' }, true],
    ['it knew another incarnation', { identity: other, lsn: '9/0', mark: 'm3' }, false],
    ['it saw no position', { identity: own, lsn: null, mark: null }, false],
  ])('%s', (_name, seen, expected) => {
    expect(wasRolledBack(me, seen)).toBe(expected);
  });
});
