/**
 * A site's identity file: one readable text, mode 0600. `Name: value` lines first, then labelled PEM
 * blocks, each announced by a line `Name:` of its own. Lines that begin with `#` are for people.
 *
 *   Twinsite-Identity: 1          format
 *   Site, Peer                    names of this site and of the other
 *   Site-Url, Peer-Url            https://host:port where each listens for the other
 *   Pair                          the pair's id, equal in both files
 *   Pair-Secret                   32 bytes in hex, equal in both files
 *   Tls-Key:                      PKCS#8; of this site only
 *   Tls-Certificate:              names this site, issued by the pair's CA
 *   Ca-Certificate:               one or more; a renewed file trusts the old CA too
 *   Receipt-Key:                  PKCS#8 Ed25519; of this site only
 *   Receipt-Public-Key NAME:      SPKI Ed25519; one for each site
 *
 * Unknown names are passed over, so that an older build reads a newer file.
 */
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import { z } from 'zod';
import { AppError, describeError } from '../core/errors.ts';
import type { PairIdentity } from '../core/identity.ts';
import { parseSiteName, type SiteName } from '../core/ids.ts';
import { certificateSite, isIssuedBy } from './certificate.ts';
import { MAX_IDENTITY_FILE_BYTES } from './limits.ts';

const FORMAT = '1';
const OPEN_TO_OTHERS = 0o077;
const MAKE_ONE = 'Make a pair of identities with `twinsite pair` and copy this site’s file here.';

const siteName = z.string().transform((text, context): SiteName => {
  const name = parseSiteName(text);
  if (name) return name;
  context.addIssue({ code: 'custom', message: 'is not a site name' });
  return z.NEVER;
});
const peerAddress = z
  .string()
  .max(300)
  .refine((text) => isPeerUrl(text), 'is not https://host:port');
const pem = z.string().startsWith('-----BEGIN ').max(8192);

const identitySchema = z.object({
  format: z.literal(FORMAT, `is of another build's format`),
  site: siteName,
  peer: siteName,
  siteUrl: peerAddress,
  peerUrl: peerAddress,
  pairId: z.string().regex(/^[0-9a-f-]{16,64}$/, 'is not an id'),
  pairSecret: z.string().regex(/^[0-9a-f]{64}$/, 'is not 32 bytes in hex'),
  tlsKey: pem,
  tlsCertificate: pem,
  caCertificates: z.array(pem).min(1).max(8),
  receiptKey: pem,
  receiptPublicKeys: z.record(z.string(), pem),
});

function isPeerUrl(text: string): boolean {
  const url = URL.parse(text);
  return url?.protocol === 'https:' && url.hostname !== '' && url.pathname === '/';
}

interface RawFields {
  readonly values: Map<string, string>;
  readonly blocks: Map<string, string[]>;
}

/** Splits the text into `Name: value` pairs and labelled blocks. */
function splitFields(text: string): RawFields {
  const values = new Map<string, string>();
  const blocks = new Map<string, string[]>();
  let label = '';
  let block: string[] | null = null;
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (block) {
      block.push(line);
      if (!line.startsWith('-----END ')) continue;
      blocks.set(label, [...(blocks.get(label) ?? []), `${block.join('\n')}\n`]);
      block = null;
    } else if (line.startsWith('-----BEGIN ')) {
      block = [line];
    } else if (line !== '' && !line.startsWith('#')) {
      const colon = line.indexOf(':');
      label = (colon < 0 ? line : line.slice(0, colon)).toLowerCase();
      if (colon >= 0) values.set(label, line.slice(colon + 1).trim());
    }
  }
  return { values, blocks };
}

function collect({ values, blocks }: RawFields): unknown {
  const one = (label: string) => blocks.get(label)?.[0];
  const prefix = 'receipt-public-key ';
  const publicKeys = [...blocks]
    .filter(([label]) => label.startsWith(prefix))
    .map(([label, found]) => [label.slice(prefix.length).trim(), found[0]]);
  return {
    format: values.get('twinsite-identity'),
    site: values.get('site'),
    peer: values.get('peer'),
    siteUrl: values.get('site-url'),
    peerUrl: values.get('peer-url'),
    pairId: values.get('pair'),
    pairSecret: values.get('pair-secret'),
    tlsKey: one('tls-key'),
    tlsCertificate: one('tls-certificate'),
    caCertificates: blocks.get('ca-certificate'),
    receiptKey: one('receipt-key'),
    receiptPublicKeys: Object.fromEntries(publicKeys),
  };
}

/** What the file's own parts say against each other; null when they fit. */
function misfit(identity: PairIdentity): string | null {
  if (identity.site === identity.peer) return 'names the same site twice';
  const certificate = new X509Certificate(identity.tlsCertificate);
  if (!certificate.checkPrivateKey(createPrivateKey(identity.tlsKey)))
    return 'holds a TLS key that is not its certificate’s';
  if (certificateSite(certificate) !== identity.site)
    return `says site ${identity.site}, but its certificate is for ${certificateSite(certificate) ?? 'nobody'}`;
  if (!identity.caCertificates.some((ca) => isIssuedBy(certificate, new X509Certificate(ca))))
    return 'holds a certificate that its CA did not issue';
  for (const name of [identity.site, identity.peer]) {
    const key = identity.receiptPublicKeys[name];
    if (key === undefined) return `lacks the receipt public key of ${name}`;
    if (createPublicKey(key).asymmetricKeyType !== 'ed25519')
      return `holds a receipt public key of ${name} that is not Ed25519`;
  }
  const own = createPublicKey(identity.receiptKey).export({ type: 'spki', format: 'pem' });
  const listed = createPublicKey(identity.receiptPublicKeys[identity.site] ?? '');
  return own === listed.export({ type: 'spki', format: 'pem' })
    ? null
    : 'holds a receipt key that is not the one listed for this site';
}

/** Parses an identity's text; `source` is for messages. Throws AppError `identity-invalid`. Does not look at the clock. */
export function parseIdentity(text: string, source: string): PairIdentity {
  const parsed = identitySchema.safeParse(collect(splitFields(text)));
  if (!parsed.success) {
    // The field's name only: a message must never carry a part of a secret.
    const issue = parsed.error.issues[0];
    throw new AppError(
      'identity-invalid',
      `${source} is not a usable identity: ${issue?.path.join('.') ?? 'it'} is missing or wrong. ${MAKE_ONE}`,
    );
  }
  const { format: _format, ...fields } = parsed.data;
  try {
    const certificate = new X509Certificate(fields.tlsCertificate);
    const identity = {
      ...fields,
      certificateExpiresAt: new Date(certificate.validTo).toISOString(),
    };
    const wrong = misfit(identity);
    if (wrong) throw new AppError('identity-invalid', `${source} ${wrong}. ${MAKE_ONE}`);
    return identity;
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError(
      'identity-invalid',
      `${source} holds a key or certificate that cannot be read (${describeError(error)}). ${MAKE_ONE}`,
    );
  }
}

async function readPrivate(file: string): Promise<string> {
  const handle = await fs.open(file, constants.O_RDONLY).catch((error: unknown) => {
    throw new AppError(
      'identity-invalid',
      `The identity ${file} cannot be read (${describeError(error)}). ${MAKE_ONE}`,
    );
  });
  try {
    const stat = await handle.stat();
    const reject = (what: string) =>
      new AppError('identity-invalid', `The identity ${file} ${what}`);
    if (!stat.isFile()) throw reject(`is not a file. ${MAKE_ONE}`);
    if ((stat.mode & OPEN_TO_OTHERS) !== 0)
      throw reject(`can be read by others. Run: chmod 600 ${file}`);
    if (stat.size > MAX_IDENTITY_FILE_BYTES) throw reject(`is too large. ${MAKE_ONE}`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/** Like readIdentity, but takes an expired one too: that is what renewing is for. */
export async function readIdentityAnyAge(file: string): Promise<PairIdentity> {
  return parseIdentity(await readPrivate(file), `The identity ${file}`);
}

/**
 * Reads, checks and returns this site's identity. Throws AppError `identity-invalid` with the path and
 * what to do when it is missing, open to others, malformed, not consistent, or outside its dates.
 */
export async function readIdentity(file: string, nowWallMs = Date.now()): Promise<PairIdentity> {
  const identity = await readIdentityAnyAge(file);
  const certificate = new X509Certificate(identity.tlsCertificate);
  if (nowWallMs > Date.parse(certificate.validTo))
    throw new AppError(
      'identity-invalid',
      `The identity ${file} expired on ${identity.certificateExpiresAt}. Run \`twinsite pair --renew OLD_${identity.site.toUpperCase()} OLD_${identity.peer.toUpperCase()}\` with both sites’ files.`,
    );
  if (nowWallMs < Date.parse(certificate.validFrom))
    throw new AppError(
      'identity-invalid',
      `The identity ${file} is not valid before ${certificate.validFrom}. Check this host’s clock.`,
    );
  return identity;
}

/** The text of an identity file; the inverse of parseIdentity. Holds secrets. */
export function formatIdentity(identity: PairIdentity): string {
  const block = (label: string, content: string) => `${label}:\n${content.trim()}\n`;
  return [
    `# The identity of site ${identity.site} in a pair with ${identity.peer}. Secret: whoever has it is this site.`,
    `# Put it on the host of site ${identity.site} only, mode 0600, and start: twinsite serve --identity FILE`,
    `# Its certificate ends on ${identity.certificateExpiresAt}.`,
    '',
    `Twinsite-Identity: ${FORMAT}`,
    `Site: ${identity.site}`,
    `Peer: ${identity.peer}`,
    `Site-Url: ${identity.siteUrl}`,
    `Peer-Url: ${identity.peerUrl}`,
    `Pair: ${identity.pairId}`,
    `Pair-Secret: ${identity.pairSecret}`,
    '',
    block('Tls-Key', identity.tlsKey),
    block('Tls-Certificate', identity.tlsCertificate),
    ...identity.caCertificates.map((ca) => block('Ca-Certificate', ca)),
    block('Receipt-Key', identity.receiptKey),
    ...Object.entries(identity.receiptPublicKeys).map(([site, key]) =>
      block(`Receipt-Public-Key ${site}`, key),
    ),
  ].join('\n');
}
