/** What the last look says about replication: the status section, and the alarms that follow. */
import type { DatabaseStatus, StreamHealth } from '../../../core/status.ts';
import { relationsReady, sameIdentity } from '../../../core/subscription-plan.ts';
import { ownIdentity, type PeerFacts } from './facts.ts';
import type { Observation } from './observe.ts';
import { toActual } from './situation.ts';

/** PostgreSQL speaks at least every 2 s on a healthy stream (half of wal_receiver_timeout). */
const SILENT_MS = 4_500;
/** A sender that is so far behind is catching up, whatever it calls itself. */
const BEHIND_BYTES = 8 * 2 ** 20;
/** Less says nothing about a pace. */
const GROWN_BYTES = 2 ** 20;

export interface Sample {
  readonly atMs: number;
  readonly keptBytes: number;
}

export interface Health {
  readonly status: DatabaseStatus;
  /** Every published table is here and its first copy is complete. */
  readonly allReady: boolean;
}

function inboundHealth(
  seen: Observation,
  facts: PeerFacts | null,
  newErrors: boolean,
): StreamHealth {
  const { subscription } = seen;
  const worker = subscription?.worker ?? null;
  if (subscription === null || !subscription.enabled || worker === null || newErrors) return 'down';
  if (worker.silentMs === null || worker.silentMs > SILENT_MS) return 'down';
  const states = Object.values(subscription.relations);
  if (states.length === 0 || states.some((state) => state !== 'r')) return 'catching-up';
  if (facts === null) return 'streaming';
  return facts.sender === 'streaming' && facts.lagBytes < BEHIND_BYTES
    ? 'streaming'
    : 'catching-up';
}

function outboundHealth(seen: Observation): StreamHealth {
  const { slot } = seen;
  if (slot === null || slot.lost || !slot.active || slot.sender === null) return 'down';
  return slot.sender === 'streaming' && slot.lagBytes < BEHIND_BYTES ? 'streaming' : 'catching-up';
}

/** At the pace of the samples, oldest first; null while nothing grows. */
function fullInMs(samples: readonly Sample[], safeBytes: number | null): number | null {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined || safeBytes === null) return null;
  const grown = last.keptBytes - first.keptBytes;
  if (grown < GROWN_BYTES || last.atMs <= first.atMs) return null;
  return Math.round((Math.max(0, safeBytes) * (last.atMs - first.atMs)) / grown);
}

/** False while what is there was made for a database that is no more: it is about to be replaced. */
function madeForThesePartners(seen: Observation, facts: PeerFacts | null): boolean {
  const madeFor = seen.facts['replication-made-for'];
  if (madeFor === undefined || !sameIdentity(madeFor.own, ownIdentity(seen))) return false;
  return facts === null || sameIdentity(madeFor.peer, facts.identity);
}

/** The status section as of this look. */
export function judgeHealth(
  seen: Observation,
  facts: PeerFacts | null,
  context: { readonly newErrors: boolean; readonly samples: readonly Sample[] },
): Health {
  const inbound = inboundHealth(seen, facts, context.newErrors);
  const outbound = outboundHealth(seen);
  const published = facts?.publishedTables ?? seen.publishedTables;
  const allReady =
    madeForThesePartners(seen, facts) && relationsReady(toActual(seen, null), published);
  const isBoth = inbound === 'streaming' && outbound === 'streaming' && allReady;
  return {
    allReady,
    status: {
      mode: isBoth ? 'both' : 'local',
      inbound,
      outbound,
      lagBytes: Math.max(seen.slot?.lagBytes ?? 0, facts?.lagBytes ?? 0),
      lagMs: Math.round(Math.max(0, seen.slot?.lagMs ?? 0)),
      digestOk: null,
      digestAt: null,
      walKeptBytes: seen.slot?.keptBytes ?? 0,
      walLimitBytes: seen.keepLimitBytes,
      fullInMs: fullInMs(context.samples, seen.slot?.safeBytes ?? null),
      postgres: seen.version.split(' ')[0] ?? seen.version,
    },
  };
}

/** Before the first look, and while the database cannot be asked. */
export function unknownHealth(postgres: string): Health {
  return {
    allReady: false,
    status: {
      mode: 'local',
      inbound: 'down',
      outbound: 'down',
      lagBytes: 0,
      lagMs: 0,
      digestOk: null,
      digestAt: null,
      walKeptBytes: 0,
      walLimitBytes: 0,
      fullInMs: null,
      postgres,
    },
  };
}
