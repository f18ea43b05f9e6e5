import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { foldAccounts, hasRight, maySee, type Right } from './accounts.ts';
import type { EventRow } from './deposit.ts';
import type { AccountName, SiteName } from './ids.ts';

const papers = 'papers' as AccountName;
let next = 0;
function event(
  entity: string,
  counter: number,
  kind: string,
  body: Record<string, unknown> = {},
  site = 'a',
): EventRow {
  next += 1;
  return { id: `${next}`, entity, counter, site: site as SiteName, at: '', kind, body };
}
const grant = (counter: number, rights: Right[], site = 'a') =>
  event('depositor/alice', counter, 'granted', { collection: 'papers', rights }, site);
const revoke = (counter: number, rights: Right[], site = 'a') =>
  event('depositor/alice', counter, 'revoked', { collection: 'papers', rights }, site);
const added = event('depositor/alice', 1, 'added');
const rightsOf = (events: EventRow[]) => [
  ...(foldAccounts([added, ...events])
    .depositors.get('alice')
    ?.rights.get(papers) ?? []),
];

describe('rights', () => {
  test.each([
    ['granted', [grant(2, ['deposit'])], ['deposit']],
    ['granted twice', [grant(2, ['deposit']), grant(3, ['read'])], ['deposit', 'read']],
    ['revoked after', [grant(2, ['deposit', 'read']), revoke(3, ['read'])], ['deposit']],
    ['granted again', [grant(2, ['read']), revoke(3, ['read']), grant(4, ['read'])], ['read']],
    ['concurrent: revoke wins', [grant(2, ['read'], 'b'), revoke(2, ['read'], 'a')], []],
    ['concurrent, other site order', [revoke(2, ['read'], 'b'), grant(2, ['read'], 'a')], []],
    [
      'a malformed body is skipped',
      [event('depositor/alice', 2, 'granted', { rights: 'all' })],
      [],
    ],
    ['an unknown right too', [grant(2, ['owner' as Right])], []],
  ])('%s', (_, events, rights) => {
    expect(rightsOf(events)).toEqual(rights as Right[]);
  });

  test('order of arrival is of no consequence', () => {
    const kinds = fc.constantFrom('granted', 'revoked', 'disabled', 'enabled');
    const one = fc.record({ counter: fc.nat(5), site: fc.constantFrom('a', 'b'), kind: kinds });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 12 }), fc.infiniteStream(fc.nat()), (list, order) => {
        const events = list.map(({ counter, site, kind }) =>
          event(
            'depositor/alice',
            counter + 2,
            kind,
            { collection: 'papers', rights: ['read'] },
            site,
          ),
        );
        const shuffled = [...events]
          .map((each) => [order.next().value ?? 0, each] as const)
          .sort(([x], [y]) => x - y)
          .map(([, each]) => each);
        const of = (rows: EventRow[]) => {
          const account = foldAccounts([added, ...rows]).depositors.get('alice');
          return [account?.disabled, [...(account?.rights.get(papers) ?? [])]];
        };
        expect(of(shuffled)).toEqual(of(events));
      }),
    );
  });
});

test('one name added at both sites is one account with all that was said', () => {
  const state = foldAccounts([
    event('depositor/bob', 1, 'added', {}, 'a'),
    event('depositor/bob', 1, 'added', {}, 'b'),
    event('depositor/bob', 2, 'token', { id: 't1', sha256: 'a'.repeat(64) }, 'a'),
    event('depositor/bob', 2, 'token', { id: 't2', sha256: 'b'.repeat(64) }, 'b'),
    event('collection/papers', 1, 'added', { title: 'A' }, 'a'),
    event('collection/papers', 1, 'added', { title: 'B' }, 'b'),
    event('collection/papers', 2, 'set', { title: 'C' }, 'a'),
    event('collection/..', 1, 'added'),
    event('admin/ops', 1, 'added'),
  ]);
  expect(state.depositors.size).toBe(1);
  expect(state.byToken.get('a'.repeat(64))?.name).toBe('bob' as AccountName);
  expect(state.byToken.get('b'.repeat(64))?.name).toBe('bob' as AccountName);
  expect([...state.collections.values()]).toEqual([{ name: papers, title: 'C' }]);
  expect([...state.admins.keys()]).toEqual(['ops']);
});

test('events without `added`, of unknown kinds or from a newer release do no harm', () => {
  const state = foldAccounts([
    event('depositor/ghost', 2, 'token', { id: 't', sha256: 'c'.repeat(64) }),
    event('collection/ghost', 2, 'set', { title: 'x' }),
    event('webhook/x', 1, 'added'),
    event('depositor/real', 1, 'added'),
    event('depositor/real', 2, 'quota', { bytes: 1 }),
  ]);
  expect([state.depositors.size, state.collections.size, state.byToken.size]).toEqual([1, 0, 0]);
});

test('the disabled may nothing; administrators read; depositors read their own', () => {
  const alice = foldAccounts([added, grant(2, ['deposit'])]).depositors.get('alice');
  const admin = foldAccounts([event('admin/ops', 1, 'added')]).admins.get('ops');
  if (!alice || !admin) throw new Error('not folded');
  const own = { depositor: 'alice' as AccountName, collection: papers };
  const others = { depositor: 'bob' as AccountName, collection: papers };
  expect([maySee(alice, own), maySee(alice, others)]).toEqual([true, false]);
  expect([maySee(admin, own), hasRight(admin, papers, 'deposit')]).toEqual([true, false]);
  const off = { ...alice, disabled: true };
  expect([maySee(off, own), hasRight(off, papers, 'deposit')]).toEqual([false, false]);
  // A depositor who is called like an administrator gains nothing by it.
  expect(maySee({ ...admin, disabled: true }, own)).toBe(false);
});
