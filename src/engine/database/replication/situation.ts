/** From what was seen to what the plan decides on. */
import type { SiteName } from '../../../core/ids.ts';
import type { SubscriptionActual, SubscriptionSituation } from '../../../core/subscription-plan.ts';
import { forPlan, ownIdentity, type PeerFacts } from './facts.ts';
import { PUBLICATION, slotNameOf } from './names.ts';
import { type Observation, WANTED_SETTINGS } from './observe.ts';

/** `connection` null: not compared. */
export function toActual(seen: Observation, connection: string | null): SubscriptionActual | null {
  const { subscription } = seen;
  if (subscription === null) return null;
  const { enabled, slotName, publications, relations } = subscription;
  const connectionRight = connection === null || subscription.connection === connection;
  return {
    enabled,
    slotName,
    publications,
    relations,
    settingsRight: connectionRight && subscription.settings === WANTED_SETTINGS,
  };
}

export function toSituation(
  seen: Observation,
  facts: PeerFacts | null,
  wanted: { readonly site: SiteName; readonly connection: string },
): SubscriptionSituation {
  return {
    own: ownIdentity(seen),
    schema: seen.schema,
    slotName: slotNameOf(wanted.site),
    publication: PUBLICATION,
    publicationRight: seen.publicationRight === true,
    subscription: toActual(seen, wanted.connection),
    madeFor: seen.facts['replication-made-for'] ?? null,
    leftoverOrigins: seen.leftoverOrigins,
    peer: facts === null ? null : forPlan(facts),
  };
}
