/**
 * Makes the two identities of a pair. The CA lives for the length of one call: its key is never
 * written, so nobody can ever add a third site to a pair.
 */
import { generateKeyPairSync, randomBytes, randomUUID, webcrypto } from 'node:crypto';
import type { X509Certificate } from '@peculiar/x509';
import { AppError } from '../core/errors.ts';
import type { PairIdentity } from '../core/identity.ts';
import type { SiteName } from '../core/ids.ts';
import { formatIdentity } from './identity-file.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;
const VALID_DAYS = 20 * 365 + 5;

/** The bundler runs static imports in an order of its own, and this library fails without the first. */
async function loadX509() {
  await import('reflect-metadata');
  return await import('@peculiar/x509');
}

export interface PairSite {
  readonly site: SiteName;
  /** `https://host:port` */
  readonly url: string;
}

/** The texts of the two identity files. Both hold secrets. */
export interface PairFiles {
  readonly a: string;
  readonly b: string;
}

interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

interface Authority {
  readonly certificate: X509Certificate;
  readonly keys: CryptoKeyPair;
  readonly validity: Validity;
}

const newKeys = async (): Promise<CryptoKeyPair> =>
  (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as CryptoKeyPair;

async function makeAuthority(pairId: string, validity: Validity): Promise<Authority> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    // The random part tells the CAs of a renewed pair apart.
    name: `CN=twinsite pair ${pairId} ${randomBytes(4).toString('hex')}`,
    keys,
    signingAlgorithm: ALGORITHM,
    ...validity,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  return { certificate, keys, validity };
}

async function makeLeaf(site: SiteName, authority: Authority) {
  const x509 = await loadX509();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${site}`,
    issuer: authority.certificate.subject,
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    signingAlgorithm: ALGORITHM,
    ...authority.validity,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: site }]),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const body = pkcs8.toString('base64').replace(/.{64}/g, '$&\n').trim();
  return {
    tlsKey: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
    tlsCertificate: certificate.toString('pem'),
  };
}

function newReceiptKeys(): { readonly secret: string; readonly open: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    secret: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    open: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

type Lasting = Omit<
  PairIdentity,
  'tlsKey' | 'tlsCertificate' | 'caCertificates' | 'certificateExpiresAt'
>;

/** Issues both certificates under one new CA; `alsoTrusted` are the CAs of the files being renewed. */
async function issue(
  a: Lasting,
  b: Lasting,
  alsoTrusted: readonly string[],
  nowWallMs: number,
): Promise<PairFiles> {
  const validity = {
    notBefore: new Date(nowWallMs - DAY_MS),
    notAfter: new Date(nowWallMs + VALID_DAYS * DAY_MS),
  };
  const authority = await makeAuthority(a.pairId, validity);
  const text = async (lasting: Lasting) =>
    formatIdentity({
      ...lasting,
      ...(await makeLeaf(lasting.site, authority)),
      caCertificates: [authority.certificate.toString('pem'), ...alsoTrusted],
      certificateExpiresAt: validity.notAfter.toISOString(),
    });
  return { a: await text(a), b: await text(b) };
}

/** Two new identities, valid for 20 years from a day ago. Throws AppError `usage` for equal names. */
export async function createPair(
  sites: { readonly a: PairSite; readonly b: PairSite },
  nowWallMs = Date.now(),
): Promise<PairFiles> {
  const { a, b } = sites;
  if (a.site === b.site)
    throw new AppError('usage', `Both sites are called ${a.site}: give them different names.`);
  const receipts = { a: newReceiptKeys(), b: newReceiptKeys() };
  const shared = {
    pairId: randomUUID(),
    pairSecret: randomBytes(32).toString('hex'),
    receiptPublicKeys: { [a.site]: receipts.a.open, [b.site]: receipts.b.open },
  };
  const ofA = { site: a.site, peer: b.site, siteUrl: a.url, peerUrl: b.url };
  const ofB = { site: b.site, peer: a.site, siteUrl: b.url, peerUrl: a.url };
  return await issue(
    { ...shared, ...ofA, receiptKey: receipts.a.secret },
    { ...shared, ...ofB, receiptKey: receipts.b.secret },
    [],
    nowWallMs,
  );
}

/**
 * New certificates for a pair. Id, secret and receipt keys stay, so digests and old receipts stay
 * valid; each new file trusts the old CA too, so that the two sites can be restarted one after the
 * other. Throws AppError `usage` when the two files are not one pair's.
 */
export async function renewPair(
  oldA: PairIdentity,
  oldB: PairIdentity,
  nowWallMs = Date.now(),
): Promise<PairFiles> {
  if (oldA.pairId !== oldB.pairId || oldA.site !== oldB.peer || oldA.peer !== oldB.site)
    throw new AppError('usage', 'The two files are not the two identities of one pair.');
  // Only the CA that issued the present certificates: older ones have done their service.
  const current = [oldA.caCertificates[0], oldB.caCertificates[0]];
  const trusted = [...new Set(current.filter((ca) => ca !== undefined))];
  return await issue(oldA, oldB, trusted, nowWallMs);
}
