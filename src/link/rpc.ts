/** Questions and answers: an exchange of purpose `rpc` with one JSON each way. */
import { z } from 'zod';
import { ERROR_CODES, type ErrorCode } from '../core/error-codes.ts';
import { AppError, describeError } from '../core/errors.ts';
import type { Exchange, Log } from '../core/ports.ts';
import { decodeJson, encodeJson } from './frames.ts';
import { MAX_RPC_BYTES } from './limits.ts';

export const RPC_PURPOSE = 'rpc';

export type AnswerHandler = (body: unknown, signal: AbortSignal) => Promise<unknown>;

const headerSchema = z.object({ method: z.string().min(1).max(100) });
const replySchema = z.union([
  z.object({
    error: z.object({
      code: z.string().max(100),
      message: z.string().max(10_000),
      retryAfterSeconds: z.number().optional(),
    }),
  }),
  z.object({ result: z.unknown() }),
]);

async function readAll(incoming: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of incoming) {
    size += chunk.length;
    if (size > MAX_RPC_BYTES)
      throw new AppError('too-large', `A message of more than ${MAX_RPC_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}

/** As bytes; a body of `undefined` is null. Throws AppError `too-large`. */
export function encodeQuestion(method: string, body: unknown): Uint8Array {
  const bytes = encodeJson(body ?? null);
  if (bytes.length > MAX_RPC_BYTES)
    throw new AppError('too-large', `The question ${method} has ${bytes.length} bytes.`);
  return bytes;
}

/** Reads the peer's answer. Throws the peer's AppError, or the exchange's. */
export async function readReply(
  exchange: Exchange,
  method: string,
  peer: string,
): Promise<unknown> {
  const parsed = replySchema.safeParse(decodeJson(await readAll(exchange.incoming)));
  if (!parsed.success)
    throw new AppError('internal', `Site ${peer} answered ${method} with something unreadable.`);
  if (!('error' in parsed.data)) return parsed.data.result ?? null;
  const { code, message, retryAfterSeconds } = parsed.data.error;
  const known: ErrorCode = Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'internal';
  throw new AppError(known, message, {
    // What is fatal to the peer's process is not fatal to this one.
    ...(ERROR_CODES[known].kind === 'fatal' ? { kind: 'permanent' as const } : {}),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

function errorReply(error: unknown): Uint8Array {
  const told =
    error instanceof AppError
      ? {
          code: error.code,
          message: error.message.slice(0, 10_000),
          retryAfterSeconds: error.retryAfterSeconds,
        }
      : { code: 'internal', message: 'The other site failed; its log says why.' };
  return encodeJson({ error: told });
}

export interface RpcServer {
  /** Throws when the method has a handler already. */
  answer(method: string, handler: AnswerHandler): void;
  handle(exchange: Exchange, signal: AbortSignal): Promise<void>;
}

export function createRpcServer(log: Log): RpcServer {
  const handlers = new Map<string, AnswerHandler>();

  const replyTo = async (exchange: Exchange, signal: AbortSignal): Promise<Uint8Array> => {
    const header = headerSchema.safeParse(exchange.header);
    const method = header.success ? header.data.method : '(unreadable)';
    try {
      const body = decodeJson(await readAll(exchange.incoming));
      const handler = handlers.get(method);
      if (!handler) throw new AppError('not-found', `Nothing answers ${method} here.`);
      const reply = encodeJson({ result: (await handler(body, signal)) ?? null });
      if (reply.length > MAX_RPC_BYTES)
        throw new AppError('too-large', `The answer to ${method} has ${reply.length} bytes.`);
      return reply;
    } catch (error) {
      if (signal.aborted) throw error;
      if (!(error instanceof AppError))
        log.error('link.answer-failed', { method, error: describeError(error) });
      return errorReply(error);
    }
  };
  return {
    answer(method, handler) {
      if (handlers.has(method)) throw new Error(`two handlers for the method ${method}`);
      handlers.set(method, handler);
    },
    async handle(exchange, signal) {
      const reply = await replyTo(exchange, signal);
      await exchange.send(reply);
      await exchange.end();
    },
  };
}
