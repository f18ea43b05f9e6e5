/**
 * Who a certificate names, and whether the pair vouches for it. Checked here and not by the TLS
 * library, so that both ends can say in one sentence why a connection was refused, and so that a
 * renewed site is known to a peer that still runs its old identity.
 */
import { createPrivateKey, createPublicKey, sign, verify, X509Certificate } from 'node:crypto';
import type { PairIdentity } from '../core/identity.ts';

/** The site named by a certificate's common name, or null. */
export function certificateSite(certificate: X509Certificate): string | null {
  const names = certificate.subject.split('\n').filter((line) => line.startsWith('CN='));
  return names.length === 1 ? (names[0]?.slice(3) ?? null) : null;
}

/** Whether `ca` is a CA and signed `certificate`. Dates are not looked at. */
export function isIssuedBy(certificate: X509Certificate, ca: X509Certificate): boolean {
  return ca.ca && certificate.checkIssued(ca) && certificate.verify(ca.publicKey);
}

export type CertificateVerdict =
  | { readonly known: true }
  /** Another CA's: only a certificate proof in the hello can still make it known. */
  | { readonly known: false; readonly fatal: false }
  | { readonly known: false; readonly fatal: true; readonly text: string };

/** Judges the certificate a connection came with: its dates, its name, its issuer. */
export function judgeCertificate(
  certificate: X509Certificate,
  identity: Pick<PairIdentity, 'peer' | 'caCertificates'>,
  nowWallMs: number,
): CertificateVerdict {
  const refuse = (text: string) => ({ known: false, fatal: true, text }) as const;
  const site = certificateSite(certificate);
  if (nowWallMs > Date.parse(certificate.validTo))
    return refuse(
      `the certificate of ${site ?? 'the peer'} expired on ${certificate.validTo}: run \`twinsite pair --renew\``,
    );
  if (nowWallMs < Date.parse(certificate.validFrom))
    return refuse(
      `the certificate of ${site ?? 'the peer'} is not valid before ${certificate.validFrom}: check both clocks`,
    );
  const trusted = identity.caCertificates.some((ca) =>
    isIssuedBy(certificate, new X509Certificate(ca)),
  );
  return trusted ? { known: true } : { known: false, fatal: false };
}

function provenText(pairId: string, site: string, certificate: X509Certificate): Buffer {
  return Buffer.from(
    `twinsite link certificate v1\n${pairId}\n${site}\n${certificate.fingerprint256}`,
  );
}

/**
 * This site's signature, by its receipt key, under its own TLS certificate. The two files of a renewed
 * pair are installed one after the other; in between the old file does not know the new CA, but it
 * knows the receipt key, which renewing keeps. Base64.
 */
export function makeCertificateProof(identity: PairIdentity): string {
  const certificate = new X509Certificate(identity.tlsCertificate);
  const text = provenText(identity.pairId, identity.site, certificate);
  return sign(null, text, createPrivateKey(identity.receiptKey)).toString('base64');
}

/** Whether the peer's receipt key vouches for this certificate. */
export function verifyCertificateProof(
  identity: PairIdentity,
  certificate: X509Certificate,
  proof: string,
): boolean {
  const key = identity.receiptPublicKeys[identity.peer];
  if (key === undefined) return false;
  const text = provenText(identity.pairId, identity.peer, certificate);
  return verify(null, text, createPublicKey(key), Buffer.from(proof, 'base64'));
}
