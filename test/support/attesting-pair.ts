/** A replicated pair whose sites attest to each other; stores are told what they hold. */
import { generateKeyPairSync } from 'node:crypto';
import type { PairIdentity } from '../../src/core/identity.ts';
import type { FileId, SiteName } from '../../src/core/ids.ts';
import type { Attestor, OwnStore } from '../../src/core/ports.ts';
import type { Service } from '../../src/core/service.ts';
import { createAttestor } from '../../src/engine/database/attestation/attestor.ts';
import { createVoucher } from '../../src/engine/database/attestation/voucher.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { A, B, type ReplicatedPair, type TestSite } from './replicated-pair.ts';

export interface AttestingSite {
  readonly attestor: Attestor & { readonly service: Service };
  readonly identity: PairIdentity;
  /** Files whose bytes this site's store lacks; everything else it holds. */
  readonly lacking: Set<FileId>;
  readonly store: { id: string; failure: string | null };
}

function identities(): readonly [PairIdentity, PairIdentity] {
  const keys = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')] as const;
  const receiptPublicKeys = {
    a: keys[0].publicKey.export({ type: 'spki', format: 'pem' }) as string,
    b: keys[1].publicKey.export({ type: 'spki', format: 'pem' }) as string,
  };
  const make = (site: SiteName, peer: SiteName, index: 0 | 1): PairIdentity => ({
    site,
    peer,
    pairId: 'pair-under-test',
    siteUrl: 'https://127.0.0.1:1',
    peerUrl: 'https://127.0.0.1:2',
    tlsKey: '',
    tlsCertificate: '',
    caCertificates: [],
    pairSecret: '',
    receiptKey: keys[index].privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    receiptPublicKeys,
    certificateExpiresAt: '2099-01-01T00:00:00.000Z',
  });
  return [make(A, B, 0), make(B, A, 1)];
}

function attesting(site: TestSite, identity: PairIdentity): AttestingSite {
  const lacking = new Set<FileId>();
  const state = { id: `store-${site.site}`, failure: null as string | null };
  const store: OwnStore = {
    get id() {
      return state.id;
    },
    generation: 'generation-1',
    root: '/nowhere',
    at: (relative) => `/nowhere/${relative}`,
    assertSame: async () => {
      if (state.failure !== null) throw new Error(state.failure);
    },
    doubt: () => undefined,
    health: () => (state.failure === null ? { ok: true } : { ok: false, reason: state.failure }),
  };
  const common = { identity, link: site.link, clock: systemClock, log: site.log };
  const { pools } = site.postgres;
  createVoucher({
    ...common,
    pools,
    catalogue: site.catalogue,
    bytes: { ensureHeld: async (file) => !lacking.has(file.id) },
    store,
    replicationAllReady: () => site.replication.allReady(),
  });
  const attestor = createAttestor({
    ...common,
    pools,
    catalogue: site.catalogue,
    ownStoreId: () => state.id,
    metrics: site.metrics,
    // The local link has no heartbeats.
    freshMs: 5_000,
  });
  site.run(attestor.service);
  return { attestor, identity, lacking, store: state };
}

/** Both sites attest from now on. */
export function attestBothWays(pair: ReplicatedPair): {
  readonly a: AttestingSite;
  readonly b: AttestingSite;
} {
  const [ofA, ofB] = identities();
  return { a: attesting(pair.a, ofA), b: attesting(pair.b, ofB) };
}
