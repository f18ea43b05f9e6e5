/**
 * The site's state machine as a table: (state, event) → the first rule whose guard holds. Events are
 * levels, not edges: they are derived anew from the facts at each step, so that a lost or repeated one
 * does no harm. The table is exported so that the documents are drawn from it.
 */
import type { PeerVerdict, SiteState } from './ports.ts';
import type { Timers } from './timers.ts';

export const SITE_STATES = [
  'starting',
  'joining',
  'paired',
  'alone',
  'draining',
  'failed',
] as const satisfies readonly SiteState[];

/** In the order in which they are looked at in one step. */
export const SITE_EVENTS = [
  'own-parts-up',
  'store-failed',
  'store-ok',
  'drain',
  'resume',
  'higher-epoch-met',
  'peer-alive',
  'peer-degraded',
  'peer-lost',
  'peer-store-failed',
  'streams-ready',
  'streams-down',
  'start-alone-timeout',
] as const;
export type SiteEvent = (typeof SITE_EVENTS)[number];

/**
 * take-over: check, persist the raised epoch, check, flip · yield: persist the met epoch, flip, merge ·
 * assert-link: put the link where it belongs · keep-link: say why it stays · announce: a heartbeat at
 * once · serve: from now on this site has served · mark-stale, clear-stale: mayBeStale.
 */
export type SiteEffect =
  | 'take-over'
  | 'yield'
  | 'assert-link'
  | 'keep-link'
  | 'announce'
  | 'serve'
  | 'mark-stale'
  | 'clear-stale';

/** Everything that the machine's decisions depend on. */
export interface SiteFacts {
  readonly hasPeer: boolean;
  readonly partsUp: boolean;
  readonly storeUsable: boolean;
  /** Was paired once, or started alone: may serve without meeting the peer. */
  readonly served: boolean;
  readonly drainRequested: boolean;
  readonly verdict: PeerVerdict;
  /** Milliseconds without a heartbeat, or without a sign that the peer hears ours. */
  readonly silentMs: number;
  readonly higherEpochMet: boolean;
  readonly holdsElsewhere: boolean;
  readonly mayTakeOver: boolean;
  /** For how long the living peer has said that its own store failed; 0 when it has not. */
  readonly peerStoreFailedMs: number;
  /** For how long the peer lives and replication does not stream; 0 when it does. */
  readonly streamsDownMs: number;
  /** Replication both ways streams and the peer is alive, for this long; null when not. */
  readonly goodForMs: number | null;
  /** How long that must last before the site is paired. */
  readonly rearmHoldMs: number;
  readonly sinceStartMs: number;
  readonly timers: Timers;
}

export const GUARDS = {
  'no peer': (f: SiteFacts) => !f.hasPeer,
  'parts down': (f: SiteFacts) => !f.partsUp,
  'store failed': (f: SiteFacts) => !f.storeUsable,
  'served, peer away': (f: SiteFacts) => f.served && f.verdict !== 'alive',
  'peer alive': (f: SiteFacts) => f.verdict === 'alive',
  served: (f: SiteFacts) => f.served,
  'served, may take over': (f: SiteFacts) => f.served && f.mayTakeOver,
  'may take over': (f: SiteFacts) => f.mayTakeOver,
  'holder is the other': (f: SiteFacts) => f.holdsElsewhere,
} as const;
export type GuardName = keyof typeof GUARDS;

export interface Rule {
  readonly when?: GuardName;
  readonly to: SiteState;
  readonly effects: readonly SiteEffect[];
}

const rule = (to: SiteState, effects: readonly SiteEffect[] = [], when?: GuardName): Rule =>
  when === undefined ? { to, effects } : { to, effects, when };
const stay = (state: SiteState): readonly Rule[] => [rule(state)];
const follow = (state: SiteState): readonly Rule[] => [rule(state, ['yield', 'announce'])];

/** Where a site goes that was held up and is not any more. */
const RESTING: readonly Rule[] = [
  rule('starting', [], 'parts down'),
  rule('failed', ['assert-link', 'announce'], 'store failed'),
  rule('alone', ['assert-link', 'serve', 'announce'], 'no peer'),
  rule('alone', ['assert-link', 'announce'], 'served, peer away'),
  rule('joining', ['assert-link', 'announce']),
];

const takeOver = (state: SiteState, guard: GuardName = 'may take over'): readonly Rule[] => [
  rule(state, ['take-over', 'announce'], guard),
  rule(state, ['keep-link'], 'holder is the other'),
];

/** Every (state, event). The last rule of each list has no guard. */
export const SITE_TABLE: Readonly<Record<SiteState, Readonly<Record<SiteEvent, readonly Rule[]>>>> =
  {
    starting: {
      'own-parts-up': RESTING.slice(1),
      'store-failed': stay('starting'),
      'store-ok': stay('starting'),
      drain: [rule('draining', ['announce'])],
      resume: stay('starting'),
      'higher-epoch-met': follow('starting'),
      'peer-alive': stay('starting'),
      'peer-degraded': stay('starting'),
      'peer-lost': stay('starting'),
      'peer-store-failed': stay('starting'),
      'streams-ready': stay('starting'),
      'streams-down': stay('starting'),
      'start-alone-timeout': stay('starting'),
    },
    joining: {
      'own-parts-up': stay('joining'),
      'store-failed': [rule('failed', ['assert-link', 'announce'])],
      'store-ok': stay('joining'),
      drain: [rule('draining', ['announce'])],
      resume: stay('joining'),
      'higher-epoch-met': follow('joining'),
      'peer-alive': stay('joining'),
      'peer-degraded': [rule('alone', ['announce'], 'served'), rule('joining')],
      'peer-lost': [
        rule('alone', ['take-over', 'announce'], 'served, may take over'),
        rule('alone', ['announce'], 'served'),
        rule('joining'),
      ],
      'peer-store-failed': [...takeOver('joining'), rule('joining')],
      'streams-ready': [rule('paired', ['serve', 'clear-stale', 'announce'])],
      'streams-down': stay('joining'),
      'start-alone-timeout': [
        rule('joining', ['serve', 'mark-stale', 'announce'], 'peer alive'),
        rule('alone', ['serve', 'mark-stale', 'assert-link', 'announce']),
      ],
    },
    paired: {
      'own-parts-up': stay('paired'),
      'store-failed': [rule('failed', ['assert-link', 'announce'])],
      'store-ok': stay('paired'),
      drain: [rule('draining', ['announce'])],
      resume: stay('paired'),
      'higher-epoch-met': follow('paired'),
      'peer-alive': stay('paired'),
      'peer-degraded': [rule('alone', ['announce'])],
      'peer-lost': [...takeOver('alone'), rule('alone', ['announce'])],
      'peer-store-failed': [...takeOver('paired'), rule('paired')],
      'streams-ready': stay('paired'),
      'streams-down': [rule('joining', ['announce'])],
      'start-alone-timeout': stay('paired'),
    },
    alone: {
      'own-parts-up': stay('alone'),
      'store-failed': [rule('failed', ['assert-link', 'announce'])],
      'store-ok': stay('alone'),
      drain: [rule('draining', ['announce'])],
      resume: stay('alone'),
      'higher-epoch-met': follow('alone'),
      'peer-alive': stay('alone'),
      'peer-degraded': stay('alone'),
      'peer-lost': [...takeOver('alone'), rule('alone')],
      'peer-store-failed': [...takeOver('alone'), rule('alone')],
      'streams-ready': [rule('paired', ['serve', 'clear-stale', 'announce'])],
      'streams-down': stay('alone'),
      'start-alone-timeout': stay('alone'),
    },
    // A site that is about to leave takes nothing over.
    draining: {
      'own-parts-up': stay('draining'),
      'store-failed': [rule('draining', ['assert-link'])],
      'store-ok': stay('draining'),
      drain: stay('draining'),
      resume: RESTING,
      'higher-epoch-met': follow('draining'),
      'peer-alive': stay('draining'),
      'peer-degraded': stay('draining'),
      'peer-lost': stay('draining'),
      'peer-store-failed': stay('draining'),
      'streams-ready': stay('draining'),
      'streams-down': stay('draining'),
      'start-alone-timeout': stay('draining'),
    },
    failed: {
      'own-parts-up': stay('failed'),
      'store-failed': stay('failed'),
      'store-ok': RESTING,
      drain: [rule('draining', ['announce'])],
      resume: stay('failed'),
      'higher-epoch-met': follow('failed'),
      'peer-alive': stay('failed'),
      'peer-degraded': stay('failed'),
      'peer-lost': stay('failed'),
      'peer-store-failed': stay('failed'),
      'streams-ready': stay('failed'),
      'streams-down': stay('failed'),
      'start-alone-timeout': stay('failed'),
    },
  };

export interface Step {
  readonly to: SiteState;
  readonly effects: readonly SiteEffect[];
  /** The guard that chose the rule; null when it is the unguarded one. */
  readonly when: GuardName | null;
}

/** What the machine does on one event. */
export function transition(state: SiteState, event: SiteEvent, facts: SiteFacts): Step {
  for (const candidate of SITE_TABLE[state][event]) {
    if (candidate.when === undefined || GUARDS[candidate.when](facts)) {
      return { to: candidate.to, effects: candidate.effects, when: candidate.when ?? null };
    }
  }
  return { to: state, effects: [], when: null };
}

const HOLDS: Readonly<Record<SiteEvent, (f: SiteFacts) => boolean>> = {
  'own-parts-up': (f) => f.partsUp,
  'store-failed': (f) => !f.storeUsable,
  'store-ok': (f) => f.storeUsable,
  drain: (f) => f.drainRequested,
  resume: (f) => !f.drainRequested,
  'higher-epoch-met': (f) => f.higherEpochMet,
  'peer-alive': (f) => f.hasPeer && f.verdict === 'alive',
  'peer-degraded': (f) =>
    f.hasPeer &&
    (f.verdict === 'lost' || (f.verdict === 'suspect' && f.silentMs >= f.timers.degradeAfterMs)),
  'peer-lost': (f) => f.hasPeer && f.verdict === 'lost',
  'peer-store-failed': (f) =>
    f.hasPeer && f.verdict === 'alive' && f.peerStoreFailedMs >= f.timers.degradeAfterMs,
  'streams-ready': (f) => f.hasPeer && f.goodForMs !== null && f.goodForMs >= f.rearmHoldMs,
  'streams-down': (f) => f.hasPeer && f.streamsDownMs >= f.timers.degradeAfterMs,
  'start-alone-timeout': (f) =>
    f.hasPeer && !f.served && f.sinceStartMs >= f.timers.startAloneAfterMs,
};

/** Does the event hold now? Events are looked at in the order of SITE_EVENTS. */
export function eventHolds(event: SiteEvent, facts: SiteFacts): boolean {
  return HOLDS[event](facts);
}
