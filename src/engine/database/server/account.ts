/** As whom PostgreSQL runs: never as root, and able to enter its own directories. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError } from '../../../core/errors.ts';
import type { Owner } from '../../../platform/archive.ts';

/** Without a better one: `nobody`, which needs no entry in a user database. */
const NOBODY: Owner = { uid: 65_534, gid: 65_534 };

/** uid and gid of `name` in passwd text, or null. */
export function findPasswd(passwd: string, name: string): Owner | null {
  for (const line of passwd.split('\n')) {
    const [user, , uid, gid] = line.split(':');
    if (user === name && /^\d+$/.test(uid ?? '') && /^\d+$/.test(gid ?? '')) {
      return { uid: Number(uid), gid: Number(gid) };
    }
  }
  return null;
}

async function ownerOf(directory: string): Promise<Owner | null> {
  return fs.stat(directory).then(
    ({ uid, gid }) => ({ uid, gid }),
    () => null,
  );
}

async function namedAccount(name: string): Promise<Owner> {
  const numeric = /^(\d+)(?::(\d+))?$/.exec(name);
  const passwd = await fs.readFile('/etc/passwd', 'utf8').catch(() => '');
  const found = numeric
    ? { uid: Number(numeric[1]), gid: Number(numeric[2] ?? numeric[1]) }
    : findPasswd(passwd, name);
  if (!found) {
    throw new AppError(
      'config',
      `--pg-user ${name}: no such user in /etc/passwd. Create it, or give numbers as UID:GID.`,
    );
  }
  if (found.uid === 0) {
    throw new AppError('config', `--pg-user ${name}: PostgreSQL refuses to run as root.`);
  }
  return found;
}

/**
 * The account for the server, or null to run it as ourselves (when we are not root). As root: --pg-user,
 * else whoever owns an existing cluster, else the owner of the directory above `dataDir`, else
 * `postgres`, else nobody. Throws AppError `config` when --pg-user cannot be used.
 */
export async function resolveServerAccount(
  dataDir: string,
  clusterDir: string,
  pgUser: string | undefined,
): Promise<Owner | null> {
  if (process.getuid?.() !== 0) {
    if (pgUser === undefined) return null;
    const wanted = await namedAccount(pgUser);
    if (wanted.uid === process.getuid?.()) return null;
    throw new AppError(
      'config',
      `--pg-user ${pgUser}: only root can run PostgreSQL as another user.`,
    );
  }
  if (pgUser !== undefined) return namedAccount(pgUser);
  const passwd = await fs.readFile('/etc/passwd', 'utf8').catch(() => '');
  const candidates = [
    await ownerOf(clusterDir),
    await ownerOf(path.dirname(path.resolve(dataDir))),
    findPasswd(passwd, 'postgres'),
  ];
  return candidates.find((owner) => owner !== null && owner.uid !== 0) ?? NOBODY;
}

export interface DirectoryFacts {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Whether mode bits let `owner` (with its one group) pass through a directory. */
export function canEnter(directory: DirectoryFacts, owner: Owner): boolean {
  if (directory.uid === owner.uid) return (directory.mode & 0o100) !== 0;
  if (directory.gid === owner.gid) return (directory.mode & 0o010) !== 0;
  return (directory.mode & 0o001) !== 0;
}

/** The first directory on the way to `target` that `owner` cannot enter, or null. Symbolic links are resolved. */
export async function findBarrier(target: string, owner: Owner): Promise<string | null> {
  let current = '';
  for (const part of (await fs.realpath(target)).split('/')) {
    current = part === '' ? '/' : path.join(current, part);
    const { uid, gid, mode } = await fs.stat(current);
    if (!canEnter({ path: current, uid, gid, mode }, owner)) return current;
  }
  return null;
}

/** Adds the right to enter to directories of our own, e.g. --data made as 0700. */
export async function makeEnterable(directory: string): Promise<void> {
  const { mode } = await fs.stat(directory);
  if ((mode & 0o011) !== 0o011) await fs.chmod(directory, (mode & 0o7777) | 0o011);
}
