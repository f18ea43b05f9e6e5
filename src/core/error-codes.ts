/**
 * The table of every error a person can meet: what it means and what to do. `docs/errors.md` is made
 * from it. `status` is the HTTP status where the error reaches a client.
 */
import type { ErrorKind } from './errors.ts';

export interface ErrorCodeEntry {
  readonly status: number;
  readonly kind: ErrorKind;
  readonly title: string;
  /** What the reader should do. */
  readonly hint: string;
}

const permanent = (status: number, title: string, hint: string): ErrorCodeEntry => ({
  status,
  kind: 'permanent',
  title,
  hint,
});
const transient = (status: number, title: string, hint: string): ErrorCodeEntry => ({
  status,
  kind: 'transient',
  title,
  hint,
});
const fatal = (title: string, hint: string): ErrorCodeEntry => ({
  status: 500,
  kind: 'fatal',
  title,
  hint,
});

export const ERROR_CODES = {
  // What a client sent
  'bad-request': permanent(400, 'Bad request', 'Correct the request as the detail says.'),
  'bad-name': permanent(
    400,
    'File name not allowed',
    'Use a name without "/", "\\", NUL or "..", of 1 to 1,024 bytes.',
  ),
  'digest-invalid': permanent(
    400,
    'Malformed digest header',
    'Send Content-Digest or Repr-Digest as RFC 9530 says, or Content-MD5 in hex or base64.',
  ),
  'digest-mismatch': permanent(
    400,
    'The bytes do not match the digest',
    'The upload was damaged on its way or the digest is of another file: send it again.',
  ),
  'body-incomplete': permanent(400, 'The body ended early', 'Send the whole file again.'),
  unauthorized: permanent(401, 'Authentication required', 'Send Basic or Bearer credentials.'),
  forbidden: permanent(403, 'Not allowed', 'Ask the administrator for a grant.'),
  'tls-required': permanent(
    403,
    'TLS required',
    'Use https; credentials must not travel in clear.',
  ),
  'not-found': permanent(404, 'Not found', 'Check the address.'),
  'method-not-allowed': permanent(405, 'Method not allowed', 'See the Allow header.'),
  'key-in-progress': transient(
    409,
    'A request with this Idempotency-Key is still running',
    'Wait for it, then send the request again.',
  ),
  conflict: permanent(409, 'Conflict', 'The detail says with what.'),
  gone: permanent(410, 'Withdrawn', 'The content was withdrawn; its record remains.'),
  'too-large': permanent(413, 'Too large', 'Split the deposit or ask for a higher limit.'),
  'range-not-satisfiable': permanent(416, 'Range not satisfiable', 'Ask for a range in the file.'),
  'idempotency-key-reused': permanent(
    422,
    'This Idempotency-Key was used for other content',
    'Use a new key for a new deposit.',
  ),
  // What this site cannot do now
  internal: transient(500, 'Internal error', 'Try again; give the requestId to the administrator.'),
  'not-ready': transient(
    503,
    'This site takes no deposits now',
    'Try again, or use the other site.',
  ),
  'content-unavailable': transient(
    503,
    'No reachable site holds the bytes now',
    'Try again when the site that the detail names is back.',
  ),
  'durability-unproven': transient(
    503,
    'Durability at both sites could not be proved',
    'The deposit may exist: send it again with the same Idempotency-Key.',
  ),
  quota: permanent(507, 'Quota exceeded', 'Ask the administrator for a higher quota.'),
  storage: transient(
    507,
    'Not enough free space',
    'The administrator must free space in the store.',
  ),
  // Configuration and start
  usage: permanent(400, 'Wrong usage', 'See --help.'),
  config: fatal('Wrong configuration', 'Correct the setting that the detail names.'),
  'data-locked': fatal('Already running', 'Stop the other process, or use another --data.'),
  'no-permission': fatal('No permission', 'Give the user that runs Twinsite the right named.'),
  'port-in-use': fatal('Address in use', 'Stop what listens there, or choose another address.'),
  'not-running': permanent(
    503,
    'No running site',
    'Start it with `twinsite serve`, or give --data.',
  ),
  // Identity and link
  'identity-invalid': fatal('Identity not usable', 'Make a pair of identities: `twinsite pair`.'),
  'peer-refused': transient(503, 'The peer refused', 'The detail says why.'),
  'peer-unreachable': transient(
    503,
    'The peer cannot be reached',
    'Check the network and that TCP 7443 is open both ways.',
  ),
  'peer-timeout': transient(504, 'The peer did not answer in time', 'Check the peer and the link.'),
  // Store
  'store-unmarked': fatal(
    'The store has no marker',
    '`twinsite store init DIR [--adopt]` makes one.',
  ),
  'store-foreign': fatal('The store is another one', 'Mount the right store, or correct --store.'),
  'store-failed': transient(503, 'The store failed', 'Check the mount and the disk.'),
  'filestore-invalid': fatal('--filestore cannot be the link', 'The detail gives the commands.'),
  // Database
  'database-down': transient(503, 'The database is not available', 'It is restarted by itself.'),
  'database-incompatible': fatal('The database cannot be used', 'The detail says what to do.'),
} as const satisfies Record<string, ErrorCodeEntry>;

export type ErrorCode = keyof typeof ERROR_CODES;
