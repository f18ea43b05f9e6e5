/** What two databases tell each other once a second: who they are, and what they saw of each other. */
import { z } from 'zod';
import type { PeerDatabaseFacts, SeenOfMe } from '../../../core/subscription-plan.ts';
import type { Observation } from './observe.ts';

export const FACTS_METHOD = 'database.facts';
export const FRESH_SLOT_METHOD = 'database.fresh-slot';
export const DROP_SLOT_METHOD = 'database.drop-slot';

const text = z.string().max(200);
const identity = z.object({ systemId: text, incarnation: text });

const peerFacts = z.object({
  identity,
  lsn: text,
  schema: text,
  publishedTables: z.array(text).max(100).nullable(),
  /** The asker's slot here. */
  slot: z.enum(['missing', 'lost', 'idle', 'active']),
  sender: text.nullable(),
  lagBytes: z.number(),
  /** Newest first. */
  marks: z.array(text).max(16),
  seen: z.object({ identity, lsn: text.nullable(), mark: text.nullable() }).nullable(),
});

export type PeerFacts = z.infer<typeof peerFacts>;

/** Throws a ZodError for what no peer would say. */
export function parsePeerFacts(value: unknown): PeerFacts {
  return peerFacts.parse(value);
}

export function ownIdentity(seen: Observation) {
  return { systemId: seen.systemId, incarnation: seen.facts.incarnation };
}

/** What this site saw of the peer: only counts for the database that the subscription was made for. */
function seenOfPeer(seen: Observation): SeenOfMe | null {
  const madeFor = seen.facts['replication-made-for'];
  const stored = seen.facts['replication-seen'];
  if (seen.subscription !== null && madeFor !== undefined) {
    const { peer } = madeFor;
    const same = stored?.systemId === peer.systemId && stored.incarnation === peer.incarnation;
    return { identity: peer, lsn: seen.subscription.originLsn, mark: same ? stored.mark : null };
  }
  if (stored === undefined) return null;
  const { mark, ...identityOfPeer } = stored;
  return { identity: identityOfPeer, lsn: null, mark };
}

export function factsToTell(seen: Observation): PeerFacts {
  const { slot } = seen;
  const state = slot === null ? 'missing' : slot.lost ? 'lost' : slot.active ? 'active' : 'idle';
  return {
    identity: ownIdentity(seen),
    lsn: seen.lsn,
    schema: seen.schema,
    publishedTables: seen.publicationRight === true ? seen.publishedTables : null,
    slot: state,
    sender: slot?.sender ?? null,
    lagBytes: slot?.lagBytes ?? 0,
    marks: seen.facts['replication-marks'],
    seen: seenOfPeer(seen),
  };
}

export function forPlan(facts: PeerFacts): PeerDatabaseFacts {
  const { identity: own, schema, publishedTables, slot } = facts;
  return { identity: own, schema, publishedTables, slot };
}
