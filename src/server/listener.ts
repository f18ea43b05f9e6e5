/** Listeners as services: start, serve until asked to stop, let what runs finish, stop. */
import { readFileSync } from 'node:fs';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import type { Service } from '../core/service.ts';
import { within } from './deadline.ts';
import type { Fetch } from './http-env.ts';

export interface HttpListenerOptions {
  /** The service's name in the log. */
  readonly name: string;
  /** The flag that set the address, for messages. */
  readonly flag: string;
  readonly hostname: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
  readonly fetch: Fetch;
  /** PEM files; null serves plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  /** Closes a connection on which nothing moves. 1 to 255. */
  readonly idleTimeoutSeconds?: number;
  /** How long a stop waits for running requests. */
  readonly drainMs?: number;
  readonly onListening?: (address: { readonly hostname: string; readonly port: number }) => void;
}

const IDLE_SECONDS = 120;
const DRAIN_MS = 10_000;

/** What the system says about an address, as an error that names the flag. */
export function listenError(error: unknown, flag: string, address: string): AppError {
  const code = systemCode(error);
  if (code === 'EADDRINUSE') {
    return new AppError(
      'port-in-use',
      `${flag} ${address} is in use: stop what listens there, or choose another address.`,
      { cause: error },
    );
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new AppError(
      'no-permission',
      `${flag} ${address}: this user may not listen there; ports below 1024 need a right.`,
      { cause: error },
    );
  }
  return new AppError('config', `${flag} ${address}: ${describeError(error)}`, { cause: error });
}

function readPem(file: string, flag: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new AppError('config', `${flag} ${file}: ${describeError(error)}`, { cause: error });
  }
}

function readTls(tls: NonNullable<HttpListenerOptions['tls']>) {
  return { cert: readPem(tls.certFile, '--tls-cert'), key: readPem(tls.keyFile, '--tls-key') };
}

function startServer(options: HttpListenerOptions): Bun.Server<undefined> {
  const { hostname, port, fetch, flag } = options;
  const encrypted = options.tls !== null;
  const tls = options.tls ? { tls: readTls(options.tls) } : {};
  try {
    return Bun.serve({
      hostname,
      port,
      ...tls,
      development: false,
      // Without this Bun lets a second process share the port in silence.
      reusePort: false,
      idleTimeout: options.idleTimeoutSeconds ?? IDLE_SECONDS,
      // Bodies are bounded where they are read, with an answer that says so.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request, server) =>
        fetch(request, {
          remoteAddress: server.requestIP(request)?.address ?? '0.0.0.0',
          encrypted,
        }),
    });
  } catch (error) {
    throw listenError(error, flag, `${hostname}:${port}`);
  }
}

/**
 * Serves until the signal aborts, then takes no new connections, waits for running requests up to
 * `drainMs` and closes. Fails with a fatal AppError (`port-in-use`, `no-permission`, `config`) when
 * it cannot listen.
 */
export function createHttpListener(options: HttpListenerOptions): Service {
  return {
    name: options.name,
    async run({ signal, clock, log, ready }) {
      if (signal.aborted) return;
      const server = startServer(options);
      try {
        const address = { hostname: options.hostname, port: server.port ?? options.port };
        log.info('http.listening', { flag: options.flag, ...address });
        options.onListening?.(address);
        ready();
        if (!signal.aborted) {
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        }
        // Closes idle connections at once and resolves when the last answer is out.
        const graceful = server.stop();
        await within(clock, options.drainMs ?? DRAIN_MS, graceful, () => undefined);
      } finally {
        await server.stop(true);
      }
    },
  };
}
