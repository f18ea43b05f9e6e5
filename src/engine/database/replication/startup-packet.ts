/**
 * The first packet of a PostgreSQL connection, as far as the tunnel must understand it: only the
 * peer's replication may come through, whatever else the peer's process may send.
 */

const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;
const CANCEL_REQUEST = 80_877_102;
const PROTOCOL_MAJOR = 3;
const HEADER_BYTES = 8;
/** PostgreSQL's own limit. */
const MAX_PACKET_BYTES = 10_000;

export type StartupPacket =
  /** Not all of it is here yet. */
  | { readonly kind: 'incomplete' }
  /** A request for encryption: to be answered with `N`; `bytes` are used up. */
  | { readonly kind: 'encryption'; readonly bytes: number }
  | { readonly kind: 'accepted' }
  | { readonly kind: 'refused'; readonly why: string };

const ALLOWED = new Set([
  'user',
  'database',
  'replication',
  'options',
  'application_name',
  'fallback_application_name',
  'client_encoding',
]);

function parseParameters(bytes: Uint8Array): ReadonlyMap<string, string> | null {
  const words = new TextDecoder().decode(bytes).split('\0');
  // name, value, …, then the terminator: an empty word and what follows the last NUL
  if (words.length % 2 !== 0 || words.at(-1) !== '' || words.at(-2) !== '') return null;
  const parameters = new Map<string, string>();
  for (let i = 0; i + 3 < words.length; i += 2) parameters.set(words[i] ?? '', words[i + 1] ?? '');
  return parameters;
}

/** What the bytes that a client sent first ask for. */
export function readStartupPacket(
  bytes: Uint8Array,
  allowed: { readonly user: string; readonly database: string },
): StartupPacket {
  if (bytes.length < HEADER_BYTES) return { kind: 'incomplete' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0);
  const code = view.getUint32(4);
  if (length < HEADER_BYTES || length > MAX_PACKET_BYTES) {
    return { kind: 'refused', why: `a first packet of ${length} bytes` };
  }
  if (code === SSL_REQUEST || code === GSS_REQUEST) {
    return { kind: 'encryption', bytes: HEADER_BYTES };
  }
  if (code === CANCEL_REQUEST) return { kind: 'refused', why: 'a cancel request' };
  if (code >>> 16 !== PROTOCOL_MAJOR) return { kind: 'refused', why: `protocol ${code >>> 16}` };
  if (bytes.length < length) return { kind: 'incomplete' };
  const parameters = parseParameters(bytes.subarray(HEADER_BYTES, length));
  if (parameters === null) return { kind: 'refused', why: 'malformed parameters' };
  for (const name of parameters.keys()) {
    if (!ALLOWED.has(name)) return { kind: 'refused', why: `parameter ${JSON.stringify(name)}` };
  }
  if (parameters.get('user') !== allowed.user) return { kind: 'refused', why: 'another user' };
  if (parameters.get('database') !== allowed.database) {
    return { kind: 'refused', why: 'another database' };
  }
  // Every walreceiver of a subscription says so; a plain session would be something else.
  if (parameters.get('replication') !== 'database') {
    return { kind: 'refused', why: 'a session that is no replication' };
  }
  return { kind: 'accepted' };
}

/** An ErrorResponse that libpq shows to people. */
export function errorResponse(message: string): Uint8Array {
  const body = `SFATAL\0VFATAL\0C28000\0M${message}\0\0`;
  const text = new TextEncoder().encode(body);
  const packet = new Uint8Array(5 + text.length);
  packet[0] = 'E'.charCodeAt(0);
  new DataView(packet.buffer).setUint32(1, 4 + text.length);
  packet.set(text, 5);
  return packet;
}
