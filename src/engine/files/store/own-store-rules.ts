/** Is the directory at --store this site's store? A decision from what was seen and who remembers what. */
import type { StoreMarker } from '../../../core/store-guard.ts';
import { isSameHost, parseMarker } from './marker.ts';
import type { StoreLook } from './probe-protocol.ts';

/** What --data remembers of this site's store. */
export interface RememberedStore {
  readonly storeId: string;
  /** `self`: the first marker was written without being asked; `person`: by `store init`. */
  readonly origin: 'self' | 'person';
  /** The peer agreed, or knows of no other. */
  readonly settled: boolean;
}

export interface OwnStoreFacts {
  readonly root: string;
  readonly look: StoreLook;
  readonly remembered: RememberedStore | null;
  readonly rememberedWhere: string;
  readonly identity: { readonly pairId: string; readonly site: string } | null;
  /** The id of this site's store that the peer remembers; null: none; undefined: it was not asked yet. */
  readonly peerKnows: string | null | undefined;
  /** The id that the peer announces for its own store. */
  readonly peerStoreId: string | null;
  readonly host: string;
}

export type OwnStoreVerdict =
  | {
      readonly verdict: 'ours';
      readonly marker: StoreMarker;
      readonly remember: RememberedStore;
      /** The marker does not name this pair, site and host yet. */
      readonly bind: boolean;
    }
  /** Empty, and nobody ever knew a store for this site: the first marker may be written. */
  | { readonly verdict: 'create' }
  | {
      readonly verdict: 'refused';
      readonly code: 'store-unmarked' | 'store-foreign';
      readonly reason: string;
    };

const unmarked = (reason: string): OwnStoreVerdict => ({
  verdict: 'refused',
  code: 'store-unmarked',
  reason,
});
const foreign = (reason: string): OwnStoreVerdict => ({
  verdict: 'refused',
  code: 'store-foreign',
  reason,
});

/** `store X (remembered in …, known to the peer)`; null when nobody expects one. */
function expectation(facts: OwnStoreFacts): string | null {
  const { remembered, peerKnows } = facts;
  const who = (id: string): string =>
    [
      remembered?.storeId === id ? `remembered in ${facts.rememberedWhere}` : '',
      peerKnows === id ? 'known to the peer' : '',
    ]
      .filter((text) => text !== '')
      .join(', ');
  const id = peerKnows ?? remembered?.storeId;
  return id === undefined ? null : `store ${id} (${who(id)})`;
}

const mountHint = (facts: OwnStoreFacts): string =>
  facts.look.sameDeviceAsRoot
    ? ' It is on the same file system as /: perhaps the SAN is not mounted.'
    : '';

function judgeUnmarked(facts: OwnStoreFacts): OwnStoreVerdict {
  const expected = expectation(facts);
  if (expected !== null) {
    return unmarked(
      `has no marker; expected ${expected}.${mountHint(facts)} Mount the right store. Only if it was replaced by a new one: twinsite store init ${facts.root}`,
    );
  }
  if (facts.look.empty) return { verdict: 'create' };
  return unmarked(
    `is not empty and has no marker.${mountHint(facts)} To take the files in it as this site's: twinsite store init ${facts.root} --adopt`,
  );
}

/** Judges a look. Nothing may be written to a store unless this says `ours` or `create`. */
export function judgeOwnStore(facts: OwnStoreFacts): OwnStoreVerdict {
  const { look, identity, remembered, peerKnows } = facts;
  if (look.markerError !== null) {
    return unmarked(`has a marker that cannot be read (${look.markerError}).`);
  }
  if (look.marker === null) return judgeUnmarked(facts);
  const marker = parseMarker(look.marker);
  if (marker === null) {
    return unmarked(
      'has a damaged marker .twinsite/store.json: restore it from the peer or a backup.',
    );
  }
  const id = marker.storeId;
  if (identity !== null && marker.pair !== null && marker.pair !== identity.pairId) {
    return foreign(`holds store ${id}, which belongs to another pair. Mount the right store.`);
  }
  // A store that ran without a pair is taken along when its site joins one.
  if (identity !== null && marker.pair !== null && marker.site !== identity.site) {
    return foreign(
      `holds store ${id}, which belongs to site ${marker.site}, not ${identity.site}: mount the right store, or correct --store.`,
    );
  }
  if (facts.peerStoreId === id) {
    return foreign(
      `holds store ${id}, and so does the peer's: two copies on one store are one copy. Give each site its own; a copied store needs a new marker (remove .twinsite/ from the copy, then: twinsite store init ${facts.root} --adopt).`,
    );
  }
  // A marker that no site opened yet was made by a person for the purpose.
  const byPerson = marker.site === null;
  const expected = expectation(facts);
  const other = foreign(
    `holds store ${id}; expected ${expected ?? 'none'}.${mountHint(facts)} Mount the right store. Only if it was replaced for good: twinsite store init DIR on the new one.`,
  );
  if (!byPerson && remembered !== null && remembered.storeId !== id && peerKnows !== id)
    return other;
  const trusted = byPerson || remembered?.origin === 'person' || remembered?.settled === true;
  if (!trusted && typeof peerKnows === 'string' && peerKnows !== id) return other;
  const same = remembered?.storeId === id ? remembered : null;
  return {
    verdict: 'ours',
    marker,
    remember: {
      storeId: id,
      origin: same?.origin ?? (byPerson ? 'person' : 'self'),
      settled: (same?.settled ?? byPerson) || peerKnows === null || peerKnows === id,
    },
    bind:
      marker.site === null ||
      (identity !== null && marker.pair === null) ||
      !isSameHost(marker.host, facts.host),
  };
}
