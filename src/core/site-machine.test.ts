import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { SiteState } from './ports.ts';
import {
  eventHolds,
  GUARDS,
  SITE_EVENTS,
  SITE_STATES,
  SITE_TABLE,
  type SiteEvent,
  type SiteFacts,
  transition,
} from './site-machine.ts';
import { DEFAULT_TIMERS } from './timers.ts';

const calm: SiteFacts = {
  hasPeer: true,
  partsUp: true,
  storeUsable: true,
  served: true,
  drainRequested: false,
  verdict: 'alive',
  silentMs: 0,
  higherEpochMet: false,
  holdsElsewhere: false,
  mayTakeOver: false,
  peerStoreFailedMs: 0,
  streamsDownMs: 0,
  goodForMs: 60_000,
  rearmHoldMs: 5_000,
  sinceStartMs: 60_000,
  timers: DEFAULT_TIMERS,
};

const anyFacts = fc
  .record({
    hasPeer: fc.boolean(),
    partsUp: fc.boolean(),
    storeUsable: fc.boolean(),
    served: fc.boolean(),
    drainRequested: fc.boolean(),
    verdict: fc.constantFrom('alive', 'suspect', 'lost', 'unknown'),
    silentMs: fc.constantFrom(0, 1_499, 1_500, 60_000),
    higherEpochMet: fc.boolean(),
    holdsElsewhere: fc.boolean(),
    mayTakeOver: fc.boolean(),
    peerStoreFailedMs: fc.constantFrom(0, 1_500),
    streamsDownMs: fc.constantFrom(0, 1_500),
    goodForMs: fc.constantFrom(null, 0, 5_000),
    rearmHoldMs: fc.constantFrom(0, 5_000),
    sinceStartMs: fc.constantFrom(0, 15_000),
  })
  .map((facts): SiteFacts => ({ ...facts, timers: DEFAULT_TIMERS }) as SiteFacts);

describe('every (state, event)', () => {
  for (const state of SITE_STATES) {
    for (const event of SITE_EVENTS) {
      const rules = SITE_TABLE[state][event];
      test(`${state} on ${event}: ends in one unguarded rule and reaches only real states`, () => {
        expect(rules.length).toBeGreaterThan(0);
        rules.forEach((rule, at) => {
          expect(rule.when === undefined).toBe(at === rules.length - 1);
          expect(SITE_STATES as readonly SiteState[]).toContain(rule.to);
        });
        const step = transition(state, event, calm);
        expect(rules.some((rule) => rule.to === step.to)).toBe(true);
      });
    }
  }

  test('every state is reached from another one, every guard is used', () => {
    const reached = new Set<SiteState>();
    const guards = new Set<string>();
    for (const state of SITE_STATES) {
      for (const event of SITE_EVENTS) {
        for (const rule of SITE_TABLE[state][event]) {
          if (rule.to !== state) reached.add(rule.to);
          if (rule.when !== undefined) guards.add(rule.when);
        }
      }
    }
    expect([...reached].sort()).toEqual([...SITE_STATES].sort());
    expect([...guards].sort()).toEqual(Object.keys(GUARDS).sort());
  });
});

describe('edges', () => {
  const cases: readonly [SiteState, SiteEvent, Partial<SiteFacts>, SiteState, string][] = [
    ['starting', 'own-parts-up', { served: false }, 'joining', 'assert-link'],
    ['starting', 'own-parts-up', { hasPeer: false }, 'alone', 'serve'],
    ['starting', 'own-parts-up', { storeUsable: false }, 'failed', 'assert-link'],
    ['joining', 'streams-ready', {}, 'paired', 'clear-stale'],
    ['joining', 'peer-lost', { served: false, mayTakeOver: true }, 'joining', ''],
    ['joining', 'peer-lost', { mayTakeOver: true }, 'alone', 'take-over'],
    ['joining', 'start-alone-timeout', { verdict: 'lost' }, 'alone', 'mark-stale'],
    ['joining', 'start-alone-timeout', {}, 'joining', 'mark-stale'],
    ['paired', 'peer-degraded', {}, 'alone', 'announce'],
    ['paired', 'peer-lost', { mayTakeOver: true, holdsElsewhere: true }, 'alone', 'take-over'],
    ['paired', 'peer-lost', { holdsElsewhere: true }, 'alone', 'keep-link'],
    ['paired', 'peer-store-failed', { mayTakeOver: true }, 'paired', 'take-over'],
    ['paired', 'streams-down', {}, 'joining', 'announce'],
    ['paired', 'store-failed', {}, 'failed', 'assert-link'],
    ['alone', 'higher-epoch-met', {}, 'alone', 'yield'],
    ['alone', 'streams-ready', {}, 'paired', 'clear-stale'],
    ['alone', 'peer-lost', {}, 'alone', ''],
    ['draining', 'resume', {}, 'joining', 'assert-link'],
    ['draining', 'resume', { verdict: 'lost' }, 'alone', 'assert-link'],
    ['draining', 'resume', { storeUsable: false }, 'failed', 'assert-link'],
    ['draining', 'resume', { partsUp: false }, 'starting', ''],
    ['draining', 'peer-lost', { mayTakeOver: true }, 'draining', ''],
    ['failed', 'store-ok', { served: false }, 'joining', 'assert-link'],
    ['failed', 'peer-lost', { mayTakeOver: true }, 'failed', ''],
  ];
  for (const [from, event, change, to, effect] of cases) {
    test(`${from} on ${event} ${JSON.stringify(change)}: ${to} ${effect}`, () => {
      const step = transition(from, event, { ...calm, ...change });
      expect(step.to).toBe(to);
      if (effect === '') expect(step.effects).toEqual([]);
      else expect(step.effects as readonly string[]).toContain(effect);
    });
  }
});

const anyState = fc.constantFrom(...SITE_STATES);

test('a site takes over only from a state that may, and only when it may', () => {
  fc.assert(
    fc.property(anyState, anyFacts, (state, facts) => {
      for (const event of SITE_EVENTS) {
        const step = transition(state, event, facts);
        if (!step.effects.includes('take-over')) continue;
        expect(facts.mayTakeOver).toBe(true);
        expect(['joining', 'paired', 'alone']).toContain(state);
        expect(['peer-lost', 'peer-store-failed']).toContain(event);
      }
    }),
  );
});

test('a site in doubt about its peer (unknown) neither degrades nor takes over', () => {
  fc.assert(
    fc.property(anyFacts, (random) => {
      const facts: SiteFacts = { ...random, verdict: 'unknown' };
      for (const event of ['peer-degraded', 'peer-lost', 'peer-store-failed'] as const) {
        expect(eventHolds(event, facts)).toBe(false);
      }
    }),
  );
});

test('with facts that stay, every state comes to rest', () => {
  fc.assert(
    fc.property(anyState, anyFacts, (begin, facts) => {
      let state = begin;
      const round = () => {
        for (const event of SITE_EVENTS) {
          if (eventHolds(event, facts)) state = transition(state, event, facts).to;
        }
      };
      for (let i = 0; i < 4; i += 1) round();
      const rest = state;
      round();
      expect(state).toBe(rest);
    }),
  );
});

test('draining is left only by resume, failed only by a store that is well or by drain', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      for (const event of SITE_EVENTS) {
        if (event !== 'resume') expect(transition('draining', event, facts).to).toBe('draining');
        if (event !== 'store-ok' && event !== 'drain') {
          expect(transition('failed', event, facts).to).toBe('failed');
        }
      }
    }),
  );
});
