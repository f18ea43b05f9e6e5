/** Finds records here, and at the peer when this site may not have everything yet. */
import type { DepositRecord } from '../../core/deposit.ts';
import { AppError } from '../../core/errors.ts';
import type { DepositId } from '../../core/ids.ts';
import type { Catalogue } from '../../core/ports.ts';

/** Asking the peer for records. Both throw AppError `peer-…` when it cannot be asked. */
export interface PeerLookup {
  byId(id: DepositId): Promise<DepositRecord | null>;
  byKey(keyDigest: string): Promise<readonly DepositRecord[]>;
}

/** A record, and whose knowledge it is. */
export interface Located {
  readonly record: DepositRecord;
  readonly at: 'here' | 'peer';
}

export interface Lookup {
  /** Throws AppError `peer-unreachable` when only the peer could tell and cannot be asked. */
  byId(id: DepositId): Promise<Located | null>;
  /** Throws what the database throws; a peer that cannot be asked counts as knowing nothing. */
  byKey(keyDigest: string): Promise<readonly Located[]>;
}

export interface LookupDeps {
  readonly catalogue: Pick<Catalogue, 'find' | 'findByKey'>;
  /** Null while this site has no peer. */
  readonly lookupAtPeer: PeerLookup | null;
  /** Every row of the peer's is here, as far as this site knows. */
  readonly caughtUp: () => boolean;
}

/** A live record is never answered with 404: what is unknown here is asked at the peer first. */
export function createLookup(deps: LookupDeps): Lookup {
  const { catalogue, lookupAtPeer, caughtUp } = deps;
  return {
    async byId(id) {
      const record = await catalogue.find(id);
      if (record) return { record, at: 'here' };
      if (!lookupAtPeer) return null;
      try {
        const theirs = await lookupAtPeer.byId(id);
        return theirs ? { record: theirs, at: 'peer' } : null;
      } catch (error) {
        throw new AppError(
          'peer-unreachable',
          'This record is not known here, and the other site, which might have it, cannot be asked now.',
          { cause: error, retryAfterSeconds: 5 },
        );
      }
    },
    async byKey(keyDigest) {
      const here = await catalogue.findByKey(keyDigest);
      if (here.length > 0 || !lookupAtPeer || caughtUp()) {
        return here.map((record) => ({ record, at: 'here' }));
      }
      // Apart, equal requests make equal ids, so that going on without the peer yields one deposit.
      const theirs = await lookupAtPeer.byKey(keyDigest).catch(() => []);
      return theirs.map((record) => ({ record, at: 'peer' }));
    },
  };
}
