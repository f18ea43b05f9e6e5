/** One question to the peer about a batch of deposits, and what its answer proves. */
import { judgeAttestation, parseAttestation, rowDigest } from '../../../core/attestation.ts';
import { AppError } from '../../../core/errors.ts';
import type { PairIdentity } from '../../../core/identity.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Clock, PeerLink } from '../../../core/ports.ts';
import { sha256Hex } from '../../../platform/hashing.ts';
import type { DatabaseCatalogue } from '../catalogue/catalogue.ts';
import { createPeerVerifier } from './signing.ts';
import { ATTEST_METHOD, type AttestAnswer, attestAnswer } from './wire.ts';

export interface PeerWord {
  /** RFC 3339, by the peer's clock. */
  readonly at: string;
  readonly storeId: string;
  readonly statement: string;
  readonly signature: string;
  readonly attested: readonly DepositId[];
}

export interface PeerAnswer {
  readonly word: PeerWord | null;
  readonly refused: AttestAnswer['refused'];
  readonly received: AttestAnswer['received'];
}

export interface AskOptions {
  /** How long the peer may wait for rows and bytes. */
  readonly waitMs: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface Asker {
  /** Complete deposits among `ids` with their row digests. */
  digests(ids: readonly DepositId[]): Promise<ReadonlyMap<DepositId, string>>;
  /** Asks, and believes nothing that is not proved. Throws `peer-*`; `peer-refused` for a false answer. */
  ask(digests: ReadonlyMap<DepositId, string>, options: AskOptions): Promise<PeerAnswer>;
}

export interface AskerOptions {
  readonly catalogue: Pick<DatabaseCatalogue, 'records' | 'recent'>;
  readonly link: PeerLink;
  readonly identity: PairIdentity;
  /** This site's own store; null while it is not known. */
  readonly ownStoreId: () => string | null;
  readonly clock: Clock;
}

/** Throws `identity-invalid` when the peer's key is missing or unusable. */
export function createAsker(options: AskerOptions): Asker {
  const { catalogue, link, identity, clock } = options;
  const isSignedByPeer = createPeerVerifier(identity);

  const prove = (
    answer: AttestAnswer,
    digests: ReadonlyMap<DepositId, string>,
  ): PeerWord | null => {
    const { statement, signature } = answer;
    if (statement === null || signature === null) return null;
    if (!isSignedByPeer(statement, signature)) {
      throw new AppError('peer-refused', "An attestation is not signed with the peer's key.");
    }
    const attestation = parseAttestation(statement);
    if (attestation === null) {
      throw new AppError('peer-refused', 'An attestation is not in the form agreed on.');
    }
    const { pairId, peer: peerSite } = identity;
    const ownStoreId = options.ownStoreId();
    const attested = judgeAttestation(attestation, { pairId, peerSite, ownStoreId, digests });
    if (typeof attested === 'string') {
      throw new AppError('peer-refused', `An attestation does not count: ${attested}.`);
    }
    const { at, storeId } = attestation;
    return { at, storeId, statement, signature, attested };
  };

  return {
    async digests(ids) {
      const digests = new Map<DepositId, string>();
      const unknown: DepositId[] = [];
      for (const id of ids) {
        const row = catalogue.recent(id);
        if (row === null) unknown.push(id);
        else digests.set(id, rowDigest(row.deposit, row.files, sha256Hex));
      }
      for (const record of await catalogue.records(unknown)) {
        const digest = rowDigest(record.deposit, record.files, sha256Hex);
        digests.set(record.deposit.id, digest);
      }
      return digests;
    },
    async ask(digests, { waitMs, ...limits }) {
      const now = clock.monotonicMs();
      const deposits = [...digests].map(([id, digest]) => {
        const recent = catalogue.recent(id);
        const asked = { id, rowDigest: digest };
        return recent === null ? asked : { ...asked, ageMs: now - recent.committedAtMs };
      });
      const answer = await link.request(ATTEST_METHOD, { deposits, waitMs }, limits);
      const parsed = attestAnswer.safeParse(answer);
      if (!parsed.success) throw new AppError('peer-refused', 'The peer answered nonsense.');
      const { refused, received } = parsed.data;
      return { word: prove(parsed.data, digests), refused, received };
    },
  };
}
