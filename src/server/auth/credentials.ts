/** The Authorization header, parsed. Nothing here is ever logged. */

export type Credentials =
  | { readonly scheme: 'bearer'; readonly token: string }
  | { readonly scheme: 'basic'; readonly user: string; readonly password: string };

/** Longer ones are nobody's. */
const MAX_CREDENTIAL_CHARACTERS = 2048;

function decodeBasic(base64: string): string | null {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return null;
  const bytes = Buffer.from(base64, 'base64');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // RFC 7617 leaves the charset open; older clients send Latin-1.
    return bytes.toString('latin1');
  }
}

/** Null when the header is missing or is neither Basic nor Bearer. */
export function parseCredentials(header: string | null): Credentials | null {
  const match = /^(basic|bearer)\s+(\S+)\s*$/i.exec(header ?? '');
  const [, scheme = '', value = ''] = match ?? [];
  if (!match || value.length > MAX_CREDENTIAL_CHARACTERS) return null;
  if (scheme.toLowerCase() === 'bearer') return { scheme: 'bearer', token: value };
  const text = decodeBasic(value);
  const colon = text?.indexOf(':') ?? -1;
  if (text === null || colon < 0) return null;
  // The password may hold colons, the user name may not.
  return { scheme: 'basic', user: text.slice(0, colon), password: text.slice(colon + 1) };
}
