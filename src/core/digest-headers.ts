/**
 * What a client says its bytes hash to: Content-Digest and Repr-Digest (RFC 9530), Content-MD5 in hex
 * of either case or in base64 (RFC 1864). Unknown algorithms are ignored, as RFC 9530 asks.
 */
import { parseDictionary } from 'structured-headers';

export type DigestAlgorithm = 'sha-256' | 'sha-512' | 'md5';

export interface DigestClaim {
  readonly header: string;
  readonly algorithm: DigestAlgorithm;
  readonly hex: string;
}

export type DigestClaims =
  | { readonly ok: true; readonly claims: readonly DigestClaim[] }
  | { readonly ok: false; readonly detail: string };

const BYTES: Readonly<Record<DigestAlgorithm, number>> = { 'sha-256': 32, 'sha-512': 64, md5: 16 };

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function isAlgorithm(text: string): text is DigestAlgorithm {
  return Object.hasOwn(BYTES, text);
}

function parseDigestField(header: string, value: string): DigestClaims {
  const malformed = (what: string): DigestClaims => ({
    ok: false,
    detail: `${header} is malformed: ${what}; an example is sha-256=:<base64 of 32 bytes>:`,
  });
  let dictionary: ReturnType<typeof parseDictionary>;
  try {
    dictionary = parseDictionary(value);
  } catch {
    return malformed('it is no dictionary of byte sequences');
  }
  if (dictionary.size === 0) return malformed('it is empty');
  const claims: DigestClaim[] = [];
  for (const [algorithm, [item]] of dictionary) {
    if (!isAlgorithm(algorithm)) continue;
    if (!(item instanceof ArrayBuffer)) return malformed(`${algorithm} is no byte sequence`);
    if (item.byteLength !== BYTES[algorithm]) {
      return malformed(`${algorithm} has ${item.byteLength} bytes, not ${BYTES[algorithm]}`);
    }
    claims.push({ header, algorithm, hex: toHex(new Uint8Array(item)) });
  }
  return { ok: true, claims };
}

function parseContentMd5(value: string): DigestClaims {
  const text = value.trim();
  const claim = (hex: string): DigestClaims => ({
    ok: true,
    claims: [{ header: 'Content-MD5', algorithm: 'md5', hex }],
  });
  if (/^[0-9A-Fa-f]{32}$/.test(text)) return claim(text.toLowerCase());
  if (/^[A-Za-z0-9+/]{22}==$/.test(text)) {
    return claim(toHex(Uint8Array.from(atob(text), (character) => character.charCodeAt(0))));
  }
  return { ok: false, detail: 'Content-MD5 is neither 32 hex digits nor base64 of 16 bytes' };
}

/** All claims of a request, or what is wrong with the first malformed one. */
export function parseDigestHeaders(header: (name: string) => string | null): DigestClaims {
  const claims: DigestClaim[] = [];
  for (const name of ['Content-Digest', 'Repr-Digest', 'Content-MD5']) {
    const value = header(name);
    if (value === null) continue;
    const parsed = name === 'Content-MD5' ? parseContentMd5(value) : parseDigestField(name, value);
    if (!parsed.ok) return parsed;
    claims.push(...parsed.claims);
  }
  return { ok: true, claims };
}

/** The first claim that the bytes do not keep, as a sentence; null when all hold. */
export function findMismatch(
  claims: readonly DigestClaim[],
  actual: Readonly<Partial<Record<DigestAlgorithm, string>>>,
): string | null {
  for (const claim of claims) {
    const found = actual[claim.algorithm];
    if (found !== claim.hex) {
      return `${claim.header} says ${claim.algorithm} ${claim.hex}, the bytes received have ${found ?? 'none'}; nothing was kept`;
    }
  }
  return null;
}

/** `sha-256=:…:` for Repr-Digest, from hex. */
export function sha256Digest(hex: string): string {
  const bytes = (hex.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
  return `sha-256=:${btoa(String.fromCharCode(...bytes))}:`;
}
