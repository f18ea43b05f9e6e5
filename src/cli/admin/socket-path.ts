/**
 * Where a running site is spoken to: `/run/twinsite/<site>.sock` when that directory exists, else
 * `<data>/admin.sock`. In the first case `<data>/admin.sock` is a symbolic link to it, so that
 * knowing --data is always enough.
 */
import { constants, existsSync, promises as fs, readdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { AppError, systemCode } from '../../core/errors.ts';
import type { SiteName } from '../../core/ids.ts';
import { loadSettings } from '../../platform/settings/config.ts';
import type { Environment, FlagValues } from '../../platform/settings/resolve.ts';

export const RUN_DIRECTORY = '/run/twinsite';
/** sun_path holds 108 bytes with its final NUL. */
const MAX_SOCKET_PATH_BYTES = 107;
const CONNECT_TIMEOUT_MS = 1000;

/** The socket's path as the contract has it. */
export function adminSocketPath(
  config: { readonly dataDir: string },
  site: SiteName,
  runDirectory = RUN_DIRECTORY,
): string {
  return existsSync(runDirectory)
    ? path.join(runDirectory, `${site}.sock`)
    : path.join(config.dataDir, 'admin.sock');
}

/** A path that fits a socket address: long ones are reached through a descriptor of their directory. */
export interface ReachableSocket extends AsyncDisposable {
  readonly path: string;
}

/** Keep it until the socket is bound or the connection is made. The directory must exist. */
export async function reachableSocket(socket: string): Promise<ReachableSocket> {
  if (Buffer.byteLength(socket) <= MAX_SOCKET_PATH_BYTES) {
    return { path: socket, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const directory = await fs.open(path.dirname(socket), constants.O_RDONLY | constants.O_DIRECTORY);
  return {
    path: `/proc/self/fd/${directory.fd}/${path.basename(socket)}`,
    [Symbol.asyncDispose]: () => directory.close(),
  };
}

/**
 * For `serve`: chooses the path and removes what a killed process left there. When another live
 * process listens under this site's name in the run directory (a second pair on one machine), or
 * the directory is not writable, the socket is `<data>/admin.sock` itself. The caller holds the
 * lock on the data directory, so nothing live is at that path.
 */
export async function prepareAdminSocket(
  config: { readonly dataDir: string },
  site: SiteName,
  runDirectory = RUN_DIRECTORY,
): Promise<string> {
  const inData = path.join(config.dataDir, 'admin.sock');
  await fs.rm(inData, { force: true });
  const chosen = adminSocketPath(config, site, runDirectory);
  if (chosen === inData) return inData;
  const writable = await fs.access(runDirectory, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!writable || (await answers(chosen))) return inData;
  await fs.rm(chosen, { force: true });
  // A crash here leaves a link to nothing, which reads as "no running site".
  await fs.symlink(chosen, inData);
  return chosen;
}

/** Whether a process listens on the socket. */
export async function answers(socket: string): Promise<boolean> {
  if (!existsSync(socket)) return false;
  await using reachable = await reachableSocket(socket);
  return await new Promise<boolean>((resolve) => {
    const connection = net.connect({ path: reachable.path });
    connection.setTimeout(CONNECT_TIMEOUT_MS);
    const end = (answer: boolean) => {
      connection.destroy();
      resolve(answer);
    };
    connection.once('connect', () => end(true));
    // Without the right to use it, it may still be alive.
    connection.once('error', (error) => end(systemCode(error) === 'EACCES'));
    connection.once('timeout', () => end(true));
  });
}

export interface SocketHints {
  /** --data, --config, --site as given to the command. */
  readonly flags: FlagValues;
  readonly env: Environment;
  readonly cwd: string;
  readonly runDirectory?: string;
}

/**
 * The socket of the site that the hints mean. Throws AppError `not-running` when nothing listens
 * there, and `usage` when several sites run and nothing says which.
 */
export async function findAdminSocket(hints: SocketHints): Promise<string> {
  const runDirectory = hints.runDirectory ?? RUN_DIRECTORY;
  const settings = loadSettings(hints);
  const { data, site } = settings.values;
  const inData = path.join(data, 'admin.sock');
  const isGiven = (name: 'data' | 'site') =>
    settings.entries.find((entry) => entry.name === name)?.source.kind !== 'default';
  if (isGiven('data') && (await answers(inData))) return inData;
  if (site !== null && (await answers(path.join(runDirectory, `${site}.sock`)))) {
    return path.join(runDirectory, `${site}.sock`);
  }
  if (isGiven('data') || isGiven('site')) {
    const where = isGiven('data') ? inData : path.join(runDirectory, `${site}.sock`);
    throw notRunning(where);
  }
  const sockets = await runningSockets(runDirectory);
  if (sockets.length > 1) {
    const names = sockets.map((each) => path.basename(each, '.sock')).join(', ');
    throw new AppError('usage', `several sites run here: ${names}. Say which with --site NAME`);
  }
  if (sockets[0] !== undefined) return sockets[0];
  if (await answers(inData)) return inData;
  throw notRunning(inData);
}

function notRunning(socket: string): AppError {
  return new AppError(
    'not-running',
    `no running site answers at ${socket}. Start it with twinsite serve, or name its directory with --data DIR`,
  );
}

async function runningSockets(runDirectory: string): Promise<readonly string[]> {
  if (!existsSync(runDirectory)) return [];
  const names = readdirSync(runDirectory).filter((name) => name.endsWith('.sock'));
  const sockets = names.sort().map((name) => path.join(runDirectory, name));
  const alive = await Promise.all(sockets.map(answers));
  return sockets.filter((_, index) => alive[index]);
}
