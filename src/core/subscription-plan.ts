/**
 * What to do next so that this site receives the peer's rows. A pure decision over what is there now;
 * every step may be cut off by a crash: the next look at what is there leads on from where it was.
 */
import { parseLsn } from './lsn.ts';

/** What makes two databases the same publisher: its cluster, and its history since the last loss. */
export interface DatabaseIdentity {
  readonly systemId: string;
  readonly incarnation: string;
}

export interface SubscriptionActual {
  readonly enabled: boolean;
  /** Null after it was detached from its slot. */
  readonly slotName: string | null;
  /** Connection, origin, synchronous_commit, streaming, disable_on_error, binary as wanted. */
  readonly settingsRight: boolean;
  readonly publications: readonly string[];
  /** Table name → state in pg_subscription_rel; `r` is ready. */
  readonly relations: Readonly<Record<string, string>>;
}

/** Which databases a subscription was made between; written before it was created. */
export interface SubscriptionMadeFor {
  readonly peer: DatabaseIdentity;
  readonly own: DatabaseIdentity;
}

/** What the peer told a moment ago, after the local state was read. */
export interface PeerDatabaseFacts {
  readonly identity: DatabaseIdentity;
  /** A fingerprint of the replicated tables' columns. */
  readonly schema: string;
  /** Null when the peer has no publication yet. */
  readonly publishedTables: readonly string[] | null;
  /** This site's slot there. */
  readonly slot: 'missing' | 'lost' | 'idle' | 'active';
}

export interface SubscriptionSituation {
  readonly own: DatabaseIdentity;
  readonly schema: string;
  readonly slotName: string;
  readonly publication: string;
  readonly publicationRight: boolean;
  readonly subscription: SubscriptionActual | null;
  readonly madeFor: SubscriptionMadeFor | null;
  readonly leftoverOrigins: readonly string[];
  /** Null while the peer cannot be asked. */
  readonly peer: PeerDatabaseFacts | null;
}

export type SubscriptionStep =
  | { readonly kind: 'publish' }
  | { readonly kind: 'drop-origin'; readonly name: string }
  | { readonly kind: 'disable' }
  | { readonly kind: 'detach' }
  | { readonly kind: 'drop'; readonly why: string }
  | { readonly kind: 'fresh-slot' }
  | { readonly kind: 'remember'; readonly madeFor: SubscriptionMadeFor }
  | { readonly kind: 'create' }
  | { readonly kind: 'configure' }
  | { readonly kind: 'enable' }
  | { readonly kind: 'refresh' }
  | { readonly kind: 'wait'; readonly why: 'peer-unknown' | 'peer-unpublished' | 'schema-differs' };

/** The same cluster with the same history. */
export function sameIdentity(a: DatabaseIdentity, b: DatabaseIdentity): boolean {
  return a.systemId === b.systemId && a.incarnation === b.incarnation;
}

/** Why the subscription that is there can lead to no complete copy any more; null when it can. */
function reasonToDrop(
  situation: SubscriptionSituation,
  subscription: SubscriptionActual,
): string | null {
  const { madeFor, peer, own } = situation;
  if (subscription.slotName !== situation.slotName) return 'it is detached from its slot';
  if (subscription.publications.join() !== situation.publication) return 'it names other tables';
  if (madeFor === null) return 'it is not known for which database it was made';
  if (!sameIdentity(madeFor.own, own)) return 'this database was rolled back or replaced';
  if (peer === null) return null;
  if (!sameIdentity(madeFor.peer, peer.identity)) return "the peer's database is another one";
  if (peer.slot === 'missing') return 'its slot is gone at the peer';
  if (peer.slot === 'lost') return 'the peer could not keep the log for it any longer';
  return null;
}

function stepsToCreate(situation: SubscriptionSituation): SubscriptionStep[] {
  const { peer } = situation;
  if (peer === null) return [{ kind: 'wait', why: 'peer-unknown' }];
  if (peer.schema !== situation.schema) return [{ kind: 'wait', why: 'schema-differs' }];
  if (peer.publishedTables === null) return [{ kind: 'wait', why: 'peer-unpublished' }];
  // Remembered before it is created: a subscription that exists always has its databases on record.
  return [
    { kind: 'fresh-slot' },
    { kind: 'remember', madeFor: { peer: peer.identity, own: situation.own } },
    { kind: 'create' },
  ];
}

function stepsToKeep(
  situation: SubscriptionSituation,
  subscription: SubscriptionActual,
): SubscriptionStep[] {
  const steps: SubscriptionStep[] = [];
  if (!subscription.settingsRight) steps.push({ kind: 'configure' });
  if (!subscription.enabled) steps.push({ kind: 'enable' });
  const published = situation.peer?.publishedTables ?? null;
  if (published !== null && !sameTables(published, Object.keys(subscription.relations))) {
    if (situation.peer?.schema === situation.schema) steps.push({ kind: 'refresh' });
    else steps.push({ kind: 'wait', why: 'schema-differs' });
  }
  return steps;
}

/** The steps that are due, in order; none when all is as wanted. */
export function planSubscription(situation: SubscriptionSituation): readonly SubscriptionStep[] {
  const { subscription } = situation;
  const steps: SubscriptionStep[] = [];
  if (!situation.publicationRight) steps.push({ kind: 'publish' });
  for (const name of situation.leftoverOrigins) steps.push({ kind: 'drop-origin', name });
  if (subscription === null) return [...steps, ...stepsToCreate(situation)];
  const why = reasonToDrop(situation, subscription);
  if (why === null) return [...steps, ...stepsToKeep(situation, subscription)];
  if (subscription.enabled) steps.push({ kind: 'disable' });
  if (subscription.slotName !== null) steps.push({ kind: 'detach' });
  return [...steps, { kind: 'drop', why }, ...stepsToCreate(situation)];
}

/** Equal sets of table names, in whatever order. */
export function sameTables(a: readonly string[], b: readonly string[]): boolean {
  return [...a].sort().join() === [...b].sort().join();
}

/** Every published table is here and its first copy is complete. */
export function relationsReady(
  subscription: SubscriptionActual | null,
  publishedTables: readonly string[] | null,
): boolean {
  if (subscription === null || !subscription.enabled || publishedTables === null) return false;
  const { relations } = subscription;
  return (
    sameTables(publishedTables, Object.keys(relations)) &&
    Object.values(relations).every((state) => state === 'r')
  );
}

/** What the peer has seen of this site's database, for the identity it knew. */
export interface SeenOfMe {
  readonly identity: DatabaseIdentity;
  /** The highest position it received. */
  readonly lsn: string | null;
  /** The last of our marks that it stored. */
  readonly mark: string | null;
}

/**
 * True when the peer has seen more of this database than is in it: it was restored from an older
 * state. A mark is a random word written here before it is told; one that the peer knows and this
 * database does not tells of a rollback even after the log has grown past the position seen.
 */
export function wasRolledBack(
  own: {
    readonly identity: DatabaseIdentity;
    readonly lsn: string;
    readonly marks: readonly string[];
  },
  seen: SeenOfMe | null,
): boolean {
  if (seen === null || !sameIdentity(seen.identity, own.identity)) return false;
  if (seen.mark !== null && !own.marks.includes(seen.mark)) return true;
  const seenLsn = seen.lsn === null ? null : parseLsn(seen.lsn);
  const ownLsn = parseLsn(own.lsn);
  return seenLsn !== null && ownLsn !== null && seenLsn > ownLsn;
}
