import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { compareEpochs, type Epoch, higherEpoch, raisedEpoch } from './epoch.ts';
import { decideLink, decideTakeOver, firstEpoch, type LinkFacts } from './holder.ts';
import type { SiteName } from './ids.ts';

const a = 'a' as SiteName;
const b = 'b' as SiteName;
const held: Epoch = { number: 5, site: a };

const base = {
  self: b,
  peer: a,
  epoch: held,
  shared: true,
  ownStoreUsable: true,
  peerMountUsable: true,
  equalUnder: held,
} as const;

describe('taking over', () => {
  test('the other site may, from a store that was equal under this epoch', () => {
    expect(decideTakeOver(base)).toMatchObject({ may: true, epoch: { number: 6, site: 'b' } });
  });
  test('the holder never does', () => {
    expect(decideTakeOver({ ...base, self: a, peer: b })).toMatchObject({
      may: false,
      tell: false,
    });
  });
  test('D2: not from a store that was never equal, or only under an older epoch, while the other can be read', () => {
    for (const equalUnder of [null, { number: 4, site: b }]) {
      expect(decideTakeOver({ ...base, equalUnder })).toMatchObject({ may: false, tell: true });
      const gone = { ...base, equalUnder, peerMountUsable: false };
      expect(decideTakeOver(gone).may).toBe(true);
      expect(decideTakeOver({ ...base, equalUnder, shared: false }).may).toBe(true);
    }
  });
  test('not with a failed store, and not before the pair met', () => {
    expect(decideTakeOver({ ...base, ownStoreUsable: false })).toMatchObject({ may: false });
    expect(decideTakeOver({ ...base, epoch: null })).toMatchObject({ may: false, tell: false });
  });
});

const facts: LinkFacts = {
  self: b,
  peer: a,
  holder: a,
  shared: true,
  ownStoreUsable: true,
  peerMountUsable: true,
  peerMountFailedMs: 0,
  lostAfterMs: 6_000,
  linkNames: 'peer',
};

describe('where the link belongs', () => {
  const cases: readonly [string, Partial<LinkFacts>, string, boolean][] = [
    ['the other holds', {}, 'peer', false],
    ['this site holds', { holder: b }, 'own', false],
    ['this site holds, its store failed', { holder: b, ownStoreUsable: false }, 'peer', false],
    ['no store is healthy', { ownStoreUsable: false, peerMountUsable: false }, 'stay', true],
    ['the mount fails for a moment', { peerMountUsable: false }, 'stay', true],
    ['the mount fails for long', { peerMountUsable: false, peerMountFailedMs: 6_000 }, 'own', true],
    ['no link yet, no mount', { peerMountUsable: false, linkNames: 'missing' }, 'own', true],
    ['T2', { shared: false, linkNames: 'own' }, 'own', false],
    ['T2, own store failed', { shared: false, ownStoreUsable: false }, 'stay', true],
    ['never met, link at the peer', { holder: null }, 'peer', false],
    ['never met, link here', { holder: null, linkNames: 'own' }, 'own', false],
    ['never met, no link, second by name', { holder: null, linkNames: 'missing' }, 'peer', false],
    [
      'never met, no link, first by name',
      { holder: null, linkNames: 'missing', self: a, peer: b },
      'own',
      false,
    ],
    [
      'never met, no link, no mount',
      { holder: null, linkNames: 'missing', peerMountUsable: false },
      'own',
      false,
    ],
  ];
  for (const [name, change, target, wanting] of cases) {
    test(`${name}: ${target}`, () => {
      expect(decideLink({ ...facts, ...change })).toMatchObject({ target, wanting });
    });
  }

  test('never to a store that cannot be used', () => {
    fc.assert(
      fc.property(
        fc.record({
          self: fc.constantFrom(a, b),
          holder: fc.constantFrom(a, b, null),
          shared: fc.boolean(),
          ownStoreUsable: fc.boolean(),
          peerMountUsable: fc.boolean(),
          peerMountFailedMs: fc.integer({ min: 0, max: 10_000 }),
          linkNames: fc.constantFrom('own', 'peer', 'other', 'missing'),
        }),
        (random) => {
          const peer = random.self === a ? b : a;
          const { target } = decideLink({ ...facts, ...random, peer });
          if (target === 'own') expect(random.ownStoreUsable).toBe(true);
          if (target === 'peer') expect(random.shared && random.peerMountUsable).toBe(true);
        },
      ),
    );
  });
});

/**
 * Two sites, any order of losses, meetings and restarts. The model keeps of each site what is on its
 * disk (the epoch) and lets it act as the machine would: take over on loss, follow a higher epoch.
 */
test('epochs never go down, the holder never raises on loss, and after a meeting there is one holder', () => {
  const action = fc.constantFrom('a loses b', 'b loses a', 'meet', 'switch to a', 'switch to b');
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const disk: Record<string, Epoch | null> = { a: null, b: null };
      const write = (site: SiteName, epoch: Epoch | null) => {
        const before = disk[site] ?? null;
        if (before !== null && epoch !== null) {
          expect(compareEpochs(epoch, before)).toBeGreaterThanOrEqual(0);
        }
        disk[site] = epoch;
      };
      const lose = (self: SiteName, peer: SiteName) => {
        const epoch = disk[self] ?? null;
        const decision = decideTakeOver({ ...base, self, peer, epoch, shared: false });
        if (epoch === null || epoch.site === self) expect(decision.may).toBe(false);
        if (decision.may) write(self, decision.epoch);
      };
      const meet = () => {
        const highest = higherEpoch(disk['a'] ?? null, disk['b'] ?? null) ?? firstEpoch(a, b);
        write(a, highest);
        write(b, highest);
        expect(disk['a']).toEqual(disk['b'] ?? null);
      };
      for (const what of actions) {
        if (what === 'a loses b') lose(a, b);
        else if (what === 'b loses a') lose(b, a);
        else {
          meet();
          if (what === 'meet') continue;
          const epoch = raisedEpoch(disk['a'] ?? null, what === 'switch to a' ? a : b);
          write(a, epoch);
          write(b, epoch);
        }
      }
    }),
  );
});
