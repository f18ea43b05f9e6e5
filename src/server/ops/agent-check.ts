/** HAProxy's agent-check: whoever connects gets one line and is let go. */
import net from 'node:net';
import type { SiteState } from '../../core/ports.ts';
import type { Service } from '../../core/service.ts';
import { listenError } from '../listener.ts';

export interface AgentFacts {
  readonly state: SiteState;
  readonly ready: boolean;
  /** 0 to 1. */
  readonly load: number;
}

/**
 * `up N%` by load, `up 0%` when draining or unready, `down` when failed. Never `drain`, `maint` or
 * `ready`: the first two stick, and the last overrides an administrator's own.
 */
export function agentLine(facts: AgentFacts): string {
  if (facts.state === 'failed') return 'down';
  if (!facts.ready) return 'up 0%';
  const free = 1 - Math.min(1, Math.max(0, facts.load));
  return `up ${Math.max(1, Math.round(free * 100))}%`;
}

export interface AgentCheckOptions {
  readonly hostname: string;
  readonly port: number;
  readonly facts: () => AgentFacts;
  readonly onListening?: (address: { readonly hostname: string; readonly port: number }) => void;
}

const MAX_CONNECTIONS = 64;
const CONNECTION_MS = 2000;

function listen(options: AgentCheckOptions): Promise<net.Server> {
  const { hostname, port, facts } = options;
  const server = net.createServer({ allowHalfOpen: false }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.setTimeout(CONNECTION_MS, () => socket.destroy());
    socket.resume();
    socket.end(`${agentLine(facts())}\n`);
  });
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(listenError(error, '--agent-listen', `${hostname}:${port}`)),
    );
    server.listen(port, hostname, () => resolve(server));
  });
}

/** Serves until the signal aborts. Fails with a fatal AppError when it cannot listen. */
export function createAgentCheck(options: AgentCheckOptions): Service {
  return {
    name: 'agent-check',
    async run({ signal, log, ready }) {
      if (signal.aborted) return;
      const server = await listen(options);
      const address = server.address() as net.AddressInfo;
      log.info('agent-check.listening', { hostname: options.hostname, port: address.port });
      options.onListening?.({ hostname: options.hostname, port: address.port });
      ready();
      try {
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          if (signal.aborted) resolve();
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
      } finally {
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}
