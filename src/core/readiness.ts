/** Whether this site takes deposits and answers readers now, and why not. */
import type { SiteView, StoreHealth } from './ports.ts';

export interface ReadinessFacts {
  readonly view: SiteView;
  /** This process has been paired, or has waited for its peer long enough: see hasServed. */
  readonly served: boolean;
  readonly storeHealth: StoreHealth;
  readonly databaseUp: boolean;
  /** Null while it is not known. */
  readonly freeBytes: number | null;
  readonly minFreeBytes: number;
  readonly hasPeer: boolean;
  readonly requireBoth: boolean;
  readonly attestorAnswering: boolean;
}

export interface Readiness {
  /** A deposit would be accepted now. */
  readonly ready: boolean;
  /** Records and files can be read now. */
  readonly readyRead: boolean;
  /** What a deposit made now would get. */
  readonly durability: 'both' | 'local';
  /** Why it is not ready; null when it is. */
  readonly reason: string | null;
  /** The error that a deposit would be answered with. */
  readonly code: 'not-ready' | 'storage';
}

/** The latch: once a site has been paired or alone it goes on serving while it joins again. */
export function hasServed(before: boolean, view: SiteView): boolean {
  return before || view.state === 'paired' || view.state === 'alone';
}

function whyNotReady(facts: ReadinessFacts, durability: 'both' | 'local'): string | null {
  const { view } = facts;
  switch (view.state) {
    case 'starting':
      return 'this site is starting';
    case 'draining':
      return 'this site is being drained';
    case 'failed':
      return facts.storeHealth.ok
        ? 'this site has failed'
        : `this site has failed: ${facts.storeHealth.reason}`;
    case 'joining':
    case 'paired':
    case 'alone':
      break;
  }
  if (!facts.storeHealth.ok) return `the store failed: ${facts.storeHealth.reason}`;
  if (!facts.databaseUp) return 'the database is not available';
  if (!facts.served) return 'this site is joining its peer and has not caught up yet';
  if (facts.freeBytes !== null && facts.freeBytes < facts.minFreeBytes) {
    return 'the store has less free space than --min-free';
  }
  if (facts.requireBoth && durability === 'local') {
    return '--require-both is set and the peer does not answer';
  }
  return null;
}

/** A pure decision over the facts of this moment. */
export function decideReadiness(facts: ReadinessFacts): Readiness {
  const { view } = facts;
  const durability =
    facts.hasPeer && facts.attestorAnswering && view.verdict !== 'lost' ? 'both' : 'local';
  const reason = whyNotReady(facts, durability);
  const short = facts.freeBytes !== null && facts.freeBytes < facts.minFreeBytes;
  const bytesReachable = facts.storeHealth.ok || view.verdict === 'alive';
  return {
    ready: reason === null,
    readyRead: facts.databaseUp && view.state !== 'starting' && facts.served && bytesReachable,
    durability,
    reason,
    code: short && reason?.includes('--min-free') ? 'storage' : 'not-ready',
  };
}
