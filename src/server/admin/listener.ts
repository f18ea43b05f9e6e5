/** The admin socket: HTTP on a Unix socket that only this user (and root) may open. */
import { constants, promises as fs } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { AppError, systemCode } from '../../core/errors.ts';
import type { Service } from '../../core/service.ts';
import type { Fetch } from '../http-env.ts';
import { listenError } from '../listener.ts';

export interface AdminListenerOptions {
  /** Its directory must exist. */
  readonly path: string;
  readonly fetch: Fetch;
}

/** What the kernel's address of a Unix socket holds. */
const MAX_PATH_BYTES = 107;

/** A way to the socket that fits an address: long paths go through a descriptor of the directory. */
async function openWay(socket: string): Promise<{ path: string; close: () => Promise<void> }> {
  if (Buffer.byteLength(socket) <= MAX_PATH_BYTES) {
    return { path: socket, close: () => Promise.resolve() };
  }
  const directory = await fs
    .open(path.dirname(socket), constants.O_RDONLY | constants.O_DIRECTORY)
    .catch((error: unknown) => {
      throw listenError(error, 'the admin socket', socket);
    });
  return {
    path: `/proc/self/fd/${directory.fd}/${path.basename(socket)}`,
    close: () => directory.close(),
  };
}

function answers(way: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(way);
    const done = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(2000, () => done(true));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}

/** Removes what a killed process left. Throws AppError `data-locked` when somebody answers there. */
async function removeStale(way: string, shown: string): Promise<void> {
  const found = await fs.lstat(way).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null;
    throw listenError(error, 'the admin socket', shown);
  });
  if (!found) return;
  if (!found.isSocket()) {
    throw new AppError(
      'config',
      `The admin socket ${shown} is another kind of file: move it away.`,
    );
  }
  if (await answers(way)) {
    throw new AppError('data-locked', `Another process answers on the admin socket ${shown}.`);
  }
  await fs.rm(way, { force: true });
}

function serve(options: AdminListenerOptions, way: string): Bun.Server<undefined> {
  // The socket must never be open to others, not even between its making and a chmod.
  const umask = process.umask(0o177);
  try {
    return Bun.serve({
      unix: way,
      development: false,
      fetch(request, server) {
        // Switchover, sync and drain take their time.
        server.timeout(request, 0);
        return options.fetch(request, { remoteAddress: null, encrypted: false });
      },
    });
  } catch (error) {
    throw listenError(error, 'the admin socket', options.path);
  } finally {
    process.umask(umask);
  }
}

/** Serves until the signal aborts; the socket file goes with it. */
export function createAdminListener(options: AdminListenerOptions): Service {
  return {
    name: 'admin-socket',
    async run({ signal, log, ready }) {
      if (signal.aborted) return;
      const way = await openWay(options.path);
      try {
        await removeStale(way.path, options.path);
        const server = serve(options, way.path);
        try {
          log.info('admin.listening', { path: options.path });
          ready();
          if (!signal.aborted) {
            await new Promise((resolve) => {
              signal.addEventListener('abort', resolve, { once: true });
            });
          }
        } finally {
          await server.stop(true);
          await fs.rm(way.path, { force: true });
        }
      } finally {
        await way.close();
      }
    },
  };
}
