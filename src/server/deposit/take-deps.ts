/** What taking a deposit needs, and what comes of it. */
import type { DepositId, SiteName } from '../../core/ids.ts';
import type { Attestor, Catalogue, Clock, DepositBytes } from '../../core/ports.ts';
import type { BodyLimits } from './body.ts';
import type { KeysInFlight } from './keys-in-flight.ts';
import type { Located, Lookup } from './lookup.ts';
import type { Receipts } from './receipts.ts';

export interface TakeDeps extends BodyLimits {
  readonly site: SiteName;
  readonly peer: SiteName | null;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  readonly catalogue: Catalogue;
  readonly bytes: DepositBytes;
  readonly attestor: Attestor;
  readonly keys: KeysInFlight;
  readonly lookup: Lookup;
  readonly receipts: Receipts;
  readonly requireBoth: boolean;
  /** How long after the commit the peer's attestation is waited for. */
  readonly degradeAfterMs: number;
}

export interface Taken {
  readonly located: Located;
  readonly replay: boolean;
  readonly sameContentAs: readonly DepositId[];
  /** Why it is not durable at both sites; null when it is. For the log. */
  readonly whyLocal: string | null;
}
