/**
 * Inside an exchange: records of one type byte and a length, so that bytes and short messages can
 * follow each other in one direction. The link may cut or join what was sent as it likes.
 */
import { z } from 'zod';
import { ERROR_CODES, type ErrorCode } from '../../../core/error-codes.ts';
import { AppError, describeError } from '../../../core/errors.ts';
import { parseDepositId, parseFileId } from '../../../core/ids.ts';
import type { Exchange } from '../../../core/ports.ts';

const DATA = 1;
const MESSAGE = 2;
const HEAD_BYTES = 5;
const MAX_MESSAGE_BYTES = 64 * 1024;
const MAX_DATA_BYTES = 16 * 1024 * 1024;
/** Below this size head and bytes go in one piece. */
const JOIN_BELOW_BYTES = 64 * 1024;

export type Received =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'message'; readonly value: unknown };

function head(type: number, length: number): Uint8Array {
  const out = new Uint8Array(HEAD_BYTES);
  out[0] = type;
  new DataView(out.buffer).setUint32(1, length);
  return out;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** The record of one JSON message. */
export function encodeMessage(value: unknown): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(value));
  return joined([head(MESSAGE, body.length), body]);
}

/** The record of some bytes gathered from pieces; for small ones. */
export function encodeData(pieces: readonly Uint8Array[]): Uint8Array {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return joined([head(DATA, length), ...pieces]);
}

/** Sends bytes as one data record. Resolves when there is room for more. */
export async function sendData(exchange: Exchange, bytes: Uint8Array): Promise<void> {
  if (bytes.length < JOIN_BELOW_BYTES) return await exchange.send(encodeData([bytes]));
  await Promise.all([exchange.send(head(DATA, bytes.length)), exchange.send(bytes)]);
}

export async function sendMessage(exchange: Exchange, value: unknown): Promise<void> {
  await exchange.send(encodeMessage(value));
}

/** What the other side sent, in order; data in whatever pieces arrive. Throws AppError `peer-refused` on nonsense. */
export async function* receive(exchange: Exchange): AsyncGenerator<Received> {
  const partial = new Uint8Array(HEAD_BYTES);
  let headBytes = 0;
  let type = 0;
  let left = 0;
  let message: Uint8Array[] = [];
  for await (const piece of exchange.incoming) {
    for (let offset = 0; offset < piece.length; ) {
      if (headBytes < HEAD_BYTES) {
        partial[headBytes] = piece[offset] ?? 0;
        headBytes += 1;
        offset += 1;
        if (headBytes < HEAD_BYTES) continue;
        type = partial[0] ?? 0;
        left = new DataView(partial.buffer).getUint32(1);
        checkHead(type, left);
      }
      const part = piece.subarray(offset, offset + left);
      offset += part.length;
      left -= part.length;
      if (type === MESSAGE) message.push(part.slice());
      else if (part.length > 0) yield { kind: 'data', bytes: part };
      if (left > 0) continue;
      headBytes = 0;
      if (type !== MESSAGE) continue;
      yield { kind: 'message', value: parseJson(joined(message)) };
      message = [];
    }
  }
  if (headBytes > 0) throw new AppError('peer-refused', 'The peer ended within a record.');
}

function checkHead(type: number, length: number): void {
  const limit = type === MESSAGE ? MAX_MESSAGE_BYTES : type === DATA ? MAX_DATA_BYTES : -1;
  if (length > limit)
    throw new AppError(
      'peer-refused',
      `The peer sent a record of type ${type}, ${length} bytes: not of this protocol.`,
    );
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new AppError('peer-refused', 'The peer sent a message that is no JSON.', {
      cause: error,
    });
  }
}

// ---------------------------------------------------------------- what is said

const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);
const SIZE = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const DEPOSIT_ID = z
  .string()
  .max(36)
  .transform((text, issues) => {
    const id = parseDepositId(text);
    if (id) return id;
    issues.addIssue('no deposit id');
    return z.NEVER;
  });
const FILE_ID = z
  .string()
  .max(36)
  .transform((text, issues) => {
    const id = parseFileId(text);
    if (id) return id;
    issues.addIssue('no file id');
    return z.NEVER;
  });

export const FILE_ADDRESS = z.object({
  id: FILE_ID,
  depositId: DEPOSIT_ID,
  name: z.string().max(1024),
  path: z.string().max(1024),
  sizeBytes: SIZE,
  sha256: SHA256,
});

export const PUT_HEADER = z.object({ v: z.literal(1), expectedBytes: SIZE.nullable() });
export const PUT_COMMAND = z.union([
  z.object({ op: z.literal('finish') }),
  z.object({ op: z.literal('publish'), file: FILE_ADDRESS }),
]);
const REFUSED = z.object({
  refused: z.object({ code: z.string().max(64), detail: z.string().max(4096) }),
});
export const PUT_ANSWER = z.union([
  z.object({ taken: SIZE }),
  z.object({ finished: z.object({ sizeBytes: SIZE, sha256: SHA256 }) }),
  z.object({ published: z.literal(true) }),
  REFUSED,
]);
export const GET_HEADER = z.object({
  v: z.literal(1),
  file: FILE_ADDRESS,
  firstChunk: z.number().int().nonnegative(),
  lastChunk: z.number().int().nonnegative(),
});
export const GET_ANSWER = z.union([z.object({ bytes: SIZE }), REFUSED]);
export const PROBE_HEADER = z.object({ v: z.literal(1) });
export const PROBE_ANSWER = z.union([z.object({ ok: z.literal(true) }), REFUSED]);
/** Ids asked for in one `deposit.resolve`. */
export const MAX_RESOLVE = 500;
export const RESOLVE_BODY = z.object({ ids: z.array(DEPOSIT_ID).max(MAX_RESOLVE) });
export const RESOLVE_ANSWER = z.object({
  /** A complete row is there, or an upload of it runs there. */
  known: z.array(DEPOSIT_ID).max(MAX_RESOLVE),
});

/** An error as the peer will read it. */
export function refusal(error: unknown): { refused: { code: string; detail: string } } {
  const code = error instanceof AppError ? error.code : 'internal';
  return { refused: { code, detail: describeError(error).slice(0, 4096) } };
}

/** The peer's refusal as an error of ours. */
export function refusalError(refused: { code: string; detail: string }): AppError {
  const code: ErrorCode = Object.hasOwn(ERROR_CODES, refused.code)
    ? (refused.code as ErrorCode)
    : 'peer-refused';
  return new AppError(code, `The peer said: ${refused.detail}`);
}

/** Parses what the peer said; nonsense is AppError `peer-refused`. */
export function parseFromPeer<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new AppError(
    'peer-refused',
    `The peer sent what this protocol does not know: ${z.prettifyError(parsed.error)}`,
  );
}
