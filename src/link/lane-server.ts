/** The accepted lanes: takes the peer's exchanges one after the other and runs their handlers. */
import { z } from 'zod';
import { AppError, describeError } from '../core/errors.ts';
import type { Exchange, Log } from '../core/ports.ts';
import { LaneExchange } from './exchange.ts';
import { ABORT, decodeJson, type FrameKind, OPEN, REFUSE } from './frames.ts';
import type { Lane } from './lane.ts';
import { MAX_PURPOSE_CHARS } from './limits.ts';

export type ExchangeHandler = (exchange: Exchange, signal: AbortSignal) => Promise<void>;

export interface LaneServerOptions {
  readonly peer: string;
  readonly log: Log;
  /** The peer refused this site's hello after all. */
  readonly onRefused: (lane: Lane, text: string) => void;
}

export interface LaneServer {
  /** Throws when the purpose has a handler already: a mistake in the wiring. */
  register(purpose: string, handler: ExchangeHandler): void;
  /** Takes exchanges on this lane until it is lost. */
  attach(lane: Lane): void;
  /** Resolves when no handler runs. */
  settled(): Promise<void>;
}

const openSchema = z.object({
  purpose: z.string().min(1).max(MAX_PURPOSE_CHARS),
  header: z.unknown(),
});

export function createLaneServer(options: LaneServerOptions): LaneServer {
  const { peer, log } = options;
  const handlers = new Map<string, ExchangeHandler>();
  const running = new Set<Promise<void>>();

  const run = async (exchange: LaneExchange, purpose: string, handler: ExchangeHandler) => {
    try {
      await handler(exchange, exchange.broken);
      if (!exchange.hasEnded) exchange.abortWith('internal', 'the handler ended without an end');
      else exchange.discardRest();
    } catch (error) {
      const wasBroken = exchange.broken.aborted;
      const known = error instanceof AppError;
      // Other errors may carry paths or data that are no business of the peer's log.
      if (known) exchange.abortWith(error.code, error.message);
      else exchange.abortWith('internal', 'internal error, see the log of that site');
      // A broken exchange makes its handler fail: the one who broke it has told why.
      log[wasBroken ? 'debug' : known ? 'info' : 'error']('link.handler-failed', {
        purpose,
        error: describeError(error),
      });
    }
  };

  const begin = (lane: Lane, payload: Uint8Array) => {
    const parsed = openSchema.safeParse(decodeJson(payload));
    if (!parsed.success) return lane.destroy('an exchange that cannot be read');
    const { purpose, header } = parsed.data;
    const handler = handlers.get(purpose);
    const exchange = new LaneExchange({ lane, purpose, header, peer, onFree: () => idle(lane) });
    if (!handler) return exchange.refuse('unknown-purpose', `nothing here takes ${purpose}`);
    exchange.accept();
    const work = run(exchange, purpose, handler).finally(() => running.delete(work));
    running.add(work);
  };

  const idle = (lane: Lane) => {
    lane.receiver = {
      data: () => lane.destroy('data outside an exchange'),
      control(kind: FrameKind, payload) {
        if (kind === OPEN) begin(lane, payload);
        else if (kind === REFUSE || kind === ABORT) {
          const message = (decodeJson(payload) as { message?: unknown } | undefined)?.message;
          options.onRefused(lane, typeof message === 'string' ? message.slice(0, 1000) : 'refused');
          lane.destroy('refused by the peer');
        } else lane.destroy(`frame ${kind} outside an exchange`);
      },
      lost: () => undefined,
    };
  };

  return {
    register(purpose, handler) {
      if (handlers.has(purpose)) throw new Error(`two handlers for the purpose ${purpose}`);
      handlers.set(purpose, handler);
    },
    attach: idle,
    async settled() {
      while (running.size > 0) await Promise.allSettled(running);
    },
  };
}
