/** Where the server's socket is: private, and short enough for a socket address (107 bytes). */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const MAX_SOCKET_PATH_BYTES = 107;
const SOCKET_NAME = '.s.PGSQL.5432';

/** Whether the server's socket fits into an address when it lies in `directory`. */
export function isShortEnough(directory: string): boolean {
  return Buffer.byteLength(path.join(directory, SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES;
}

function isPrivateDirectory(directory: string): boolean {
  try {
    const stat = fs.lstatSync(directory);
    return stat.isDirectory() && (stat.mode & 0o077) === 0;
  } catch {
    return false;
  }
}

/** A new private directory below `base`, or null where none can be made or its path is too long. */
function makePrivate(base: string): string | null {
  let made: string;
  try {
    made = fs.mkdtempSync(path.join(base, 'twinsite-pg-'));
  } catch {
    return null;
  }
  if (isShortEnough(made)) return made;
  fs.rmdirSync(made);
  return null;
}

/**
 * `<directory>/socket`, or, when that is too long, a private directory elsewhere whose name is kept in
 * `<directory>/socket-directory`. Synchronous, since the address is fixed for the life of the process.
 */
export function chooseSocketDirectory(directory: string): string {
  const preferred = path.join(directory, 'socket');
  if (isShortEnough(preferred)) return preferred;
  const note = path.join(directory, 'socket-directory');
  const known = fs.existsSync(note) ? fs.readFileSync(note, 'utf8').trim() : '';
  if (known !== '' && isPrivateDirectory(known)) return known;
  for (const base of ['/run/twinsite', os.tmpdir(), '/tmp']) {
    const made = makePrivate(base);
    if (made === null) continue;
    try {
      fs.mkdirSync(directory, { recursive: true, mode: 0o711 });
      fs.writeFileSync(note, `${made}\n`, { mode: 0o600 });
      return made;
    } catch {
      // --data cannot be written: the service's start says so, better than this could.
      fs.rmdirSync(made);
      break;
    }
  }
  return preferred;
}
