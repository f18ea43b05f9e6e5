/** A site's identity as parsed from its file. Holds secrets: never logged, never put in argv. */
import type { SiteName } from './ids.ts';

export interface PairIdentity {
  readonly site: SiteName;
  readonly peer: SiteName;
  /** Equal at both sites; names the pair in hellos and store markers. */
  readonly pairId: string;
  /** Where this site listens for its peer and where the peer does: `https://host:port`. */
  readonly siteUrl: string;
  readonly peerUrl: string;
  /** PEM. */
  readonly tlsKey: string;
  readonly tlsCertificate: string;
  /** PEM; more than one while a renewed pair is rolled out. */
  readonly caCertificates: readonly string[];
  /** 32 bytes, hex; keys the manifest digest. */
  readonly pairSecret: string;
  /** PKCS#8 PEM, Ed25519; signs attestations and receipts. */
  readonly receiptKey: string;
  /** SPKI PEM, Ed25519, of both sites. */
  readonly receiptPublicKeys: { readonly [site: string]: string };
  readonly certificateExpiresAt: string;
}
