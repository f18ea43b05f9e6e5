/** Who holds, and where the filestore link belongs: decisions only. */
import { compareEpochs, type Epoch, formatEpoch, raisedEpoch } from './epoch.ts';
import type { SiteName } from './ids.ts';

/** The epoch of two sites that never had one: the first by name holds. */
export function firstEpoch(one: SiteName, other: SiteName): Epoch {
  return { number: 1, site: one < other ? one : other };
}

export interface TakeOverFacts {
  readonly self: SiteName;
  readonly peer: SiteName;
  readonly epoch: Epoch | null;
  /** T1: the peer's store is mounted here too. */
  readonly shared: boolean;
  readonly ownStoreUsable: boolean;
  /** T1: the peer's store can be used from here. */
  readonly peerMountUsable: boolean;
  /** The epoch under which this store was last seen equal to the peer's present one; null for never. */
  readonly equalUnder: Epoch | null;
}

export type TakeOverDecision =
  | { readonly may: true; readonly epoch: Epoch; readonly because: string }
  /** `tell`: the administrator should know, because the link stays with a site that is away. */
  | { readonly may: false; readonly reason: string; readonly tell: boolean };

/**
 * May this site take over from a peer that is lost (or whose store is)? Only the site that does not
 * hold may raise the epoch. Where applications would be moved (T1) they are only moved to a store that
 * was equal under the present epoch, or away from one that cannot be read.
 */
export function decideTakeOver(facts: TakeOverFacts): TakeOverDecision {
  const { self, peer, epoch } = facts;
  const no = (reason: string, tell: boolean) => ({ may: false, reason, tell }) as const;
  if (epoch === null) return no('the pair never met, so nobody holds', false);
  if (epoch.site === self) return no('this site holds already', false);
  if (!facts.ownStoreUsable) return no("this site's own store failed", true);
  const raised = raisedEpoch(epoch, self);
  if (!facts.shared) {
    return { may: true, epoch: raised, because: `each site has its own store, ${peer} is away` };
  }
  if (!facts.peerMountUsable) {
    return { may: true, epoch: raised, because: `the store of ${peer} cannot be used from here` };
  }
  if (facts.equalUnder !== null && compareEpochs(facts.equalUnder, epoch) === 0) {
    return { may: true, epoch: raised, because: 'both stores were equal under this epoch' };
  }
  return no(
    `this store was never seen equal to that of ${peer} under epoch ${formatEpoch(epoch)}, and that one can be read here: filestore stays with it`,
    true,
  );
}

export type LinkNames = 'own' | 'peer' | 'other' | 'missing';

export interface LinkFacts {
  readonly self: SiteName;
  readonly peer: SiteName | null;
  readonly holder: SiteName | null;
  readonly shared: boolean;
  readonly ownStoreUsable: boolean;
  readonly peerMountUsable: boolean;
  /** For how long the peer's mount has not been usable; 0 while it is. */
  readonly peerMountFailedMs: number;
  readonly lostAfterMs: number;
  /** What the link names now. */
  readonly linkNames: LinkNames;
}

export interface LinkDecision {
  /** `stay`: leave it as it is, even missing: there is nothing healthy to point it at. */
  readonly target: 'own' | 'peer' | 'stay';
  readonly because: string;
  /** True when the link should be elsewhere and cannot: somebody should know. */
  readonly wanting: boolean;
}

/** Where the filestore link belongs now. The store it names must still be checked before the flip. */
export function decideLink(facts: LinkFacts): LinkDecision {
  const to = (target: LinkDecision['target'], because: string, wanting = false) => ({
    target,
    because,
    wanting,
  });
  if (!facts.shared) {
    return facts.ownStoreUsable
      ? to('own', 'each site uses its own store')
      : to('stay', 'no store is healthy here', true);
  }
  if (!facts.ownStoreUsable) {
    return facts.peerMountUsable
      ? to('peer', "this site's own store failed")
      : to('stay', 'no store is healthy here', true);
  }
  if (facts.holder === facts.self) return to('own', 'this site holds');
  if (facts.holder === null) return linkBeforeFirstEpoch(facts);
  if (facts.peerMountUsable) return to('peer', `${facts.holder} holds`);
  const long = facts.peerMountFailedMs >= facts.lostAfterMs;
  return long || facts.linkNames === 'missing' || facts.linkNames === 'other'
    ? to('own', `${facts.holder} holds, but its store cannot be used from here`, true)
    : to('stay', `${facts.holder} holds, and its store does not answer here now`, true);
}

/** Nobody holds yet: a link that names a healthy store keeps it, otherwise the first by name holds. */
function linkBeforeFirstEpoch(facts: LinkFacts): LinkDecision {
  const first = facts.peer === null || facts.self < facts.peer;
  const because = 'the pair has not met yet';
  if (facts.linkNames === 'own') return { target: 'own', because, wanting: false };
  if (facts.linkNames === 'peer' && facts.peerMountUsable) {
    return { target: 'peer', because, wanting: false };
  }
  const target = first || !facts.peerMountUsable ? 'own' : 'peer';
  return { target, because, wanting: false };
}
