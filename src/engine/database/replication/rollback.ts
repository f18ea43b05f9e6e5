/** Finding out that this database was restored from an older state, by what the peer saw of it. */
import { randomUUID } from 'node:crypto';
import type { Sql } from 'postgres';
import { sameIdentity, wasRolledBack } from '../../../core/subscription-plan.ts';
import type { PeerFacts } from './facts.ts';
import { ownIdentity } from './facts.ts';
import type { Observation } from './observe.ts';
import { writeFact } from './steps.ts';

/** A rollback to a state younger than this is found by log positions alone. */
const NEW_MARK_AFTER_MS = 60_000;
const MARKS_KEPT = 4;

export interface RollbackGuard {
  /**
   * Compares what each knows of the other. True when this database turned out to be rolled back: it
   * has a new incarnation now, written before anything else is done.
   */
  check(seen: Observation, facts: PeerFacts): Promise<boolean>;
}

function isRolledBack(seen: Observation, facts: PeerFacts): boolean {
  const marks = seen.facts['replication-marks'];
  return wasRolledBack({ identity: ownIdentity(seen), lsn: seen.lsn, marks }, facts.seen);
}

export function createRollbackGuard(
  admin: Sql,
  lookAgain: () => Promise<Observation>,
  monotonicMs: () => number,
): RollbackGuard {
  let markedAtMs = Number.NEGATIVE_INFINITY;

  const rememberPeer = async (seen: Observation, facts: PeerFacts) => {
    const stored = seen.facts['replication-seen'];
    const { identity, marks } = facts;
    const newest = marks[0];
    if (newest === undefined) return;
    if (stored !== undefined && sameIdentity(stored, identity)) {
      // A peer that lost the mark stored here was rolled back: it must find out by this mark.
      if (stored.mark === newest || !marks.includes(stored.mark)) return;
    }
    await writeFact(admin, 'replication-seen', { ...identity, mark: newest });
  };

  return {
    async check(seen, facts) {
      const marks = seen.facts['replication-marks'];
      // The peer answered after this was read, and may rightly have seen more by then: what counts is
      // what is here after its answer.
      if (isRolledBack(seen, facts) && isRolledBack(await lookAgain(), facts)) {
        // Crash between the two: the new name stands, and old marks under it harm nobody.
        await writeFact(admin, 'incarnation', randomUUID());
        await writeFact(admin, 'replication-marks', [randomUUID()]);
        return true;
      }
      await rememberPeer(seen, facts);
      // A new mark only once the peer has the last one: what it knows is always among those kept.
      const isStored = marks[0] !== undefined && facts.seen?.mark === marks[0];
      const isDue = isStored && monotonicMs() - markedAtMs > NEW_MARK_AFTER_MS;
      if (marks.length === 0 || isDue) {
        markedAtMs = monotonicMs();
        const kept = [randomUUID(), ...marks].slice(0, MARKS_KEPT);
        await writeFact(admin, 'replication-marks', kept);
      }
      return false;
    },
  };
}
