/**
 * Frames on a lane: u32 length of the payload (big endian), u8 kind, payload. Data is handed on as it
 * comes, without waiting for the whole frame; every other kind is small and handed on whole.
 */
import { MAX_CONTROL_BYTES, MAX_FRAME_BYTES, MAX_HEADER_BYTES, MAX_HELLO_BYTES } from './limits.ts';

/** JSON: core/hello.ts. */
export const HELLO = 1;
/** Empty: the listener accepted the dialer's hello. */
export const WELCOME = 2;
/** JSON {purpose, header}: the dialer begins an exchange. */
export const OPEN = 3;
/** Empty: a handler took the exchange. */
export const ACCEPT = 4;
/** JSON {code, message}: of a hello or of an OPEN; the sender's direction is over. */
export const REFUSE = 5;
export const DATA = 6;
/** Empty: the sender's direction of the exchange is over. */
export const END = 7;
/** JSON {code, message}: the exchange is broken off; the connection closes. */
export const ABORT = 8;
/** Empty; at any time after the hellos. */
export const PING = 9;

export type FrameKind = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;

const LIMITS: Readonly<Record<number, number>> = {
  [HELLO]: MAX_HELLO_BYTES,
  [WELCOME]: 0,
  [OPEN]: MAX_HEADER_BYTES,
  [ACCEPT]: 0,
  [REFUSE]: MAX_CONTROL_BYTES,
  [DATA]: MAX_FRAME_BYTES,
  [END]: 0,
  [ABORT]: MAX_CONTROL_BYTES,
  [PING]: 0,
};
const HEAD_BYTES = 5;

/** One frame as one buffer of its own; the payload may be reused at once. */
export function encodeFrame(kind: FrameKind, payload: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafeSlow(HEAD_BYTES + payload.length);
  frame.writeUInt32BE(payload.length, 0);
  frame[4] = kind;
  frame.set(payload, HEAD_BYTES);
  return frame;
}

/** What stands before a payload of `length` bytes that is sent without being copied. */
export function encodeFrameHead(kind: FrameKind, length: number): Uint8Array {
  const head = Buffer.allocUnsafeSlow(HEAD_BYTES);
  head.writeUInt32BE(length, 0);
  head[4] = kind;
  return head;
}

export interface FrameSink {
  /** A piece of a DATA frame's payload; a view of the pushed chunk. */
  data(bytes: Uint8Array): void;
  control(kind: FrameKind, payload: Uint8Array): void;
}

export interface FrameReader {
  /** Feeds received bytes; returns what is wrong with them, or null. After a fault nothing may be pushed. */
  push(chunk: Uint8Array): string | null;
}

/** Cuts a byte stream into frames with bounded memory. */
export function createFrameReader(sink: FrameSink): FrameReader {
  const head = new Uint8Array(HEAD_BYTES);
  let headFill = 0;
  let kind = 0;
  let missing = 0;
  let control: Uint8Array | null = null;

  const begin = (): string | null => {
    const length = new DataView(head.buffer).getUint32(0);
    kind = head[4] ?? 0;
    const limit = LIMITS[kind];
    if (limit === undefined) return `unknown frame kind ${kind}`;
    if (length > limit) return `frame of ${length} bytes where ${limit} are allowed`;
    missing = length;
    control = kind === DATA ? null : new Uint8Array(length);
    return null;
  };
  /** Returns how many bytes of the payload were taken. */
  const take = (chunk: Uint8Array, offset: number): number => {
    const piece = chunk.subarray(offset, offset + missing);
    if (control) control.set(piece, control.length - missing);
    else if (piece.length > 0) sink.data(piece);
    missing -= piece.length;
    return piece.length;
  };
  return {
    push(chunk) {
      let offset = 0;
      while (offset < chunk.length) {
        if (headFill < HEAD_BYTES) {
          const piece = chunk.subarray(offset, offset + HEAD_BYTES - headFill);
          head.set(piece, headFill);
          headFill += piece.length;
          offset += piece.length;
          if (headFill < HEAD_BYTES) return null;
          const fault = begin();
          if (fault) return fault;
        }
        offset += take(chunk, offset);
        if (missing > 0) return null;
        headFill = 0;
        if (control) sink.control(kind as FrameKind, control);
      }
      return null;
    },
  };
}

const decoder = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

export function encodeJson(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

/** Parses untrusted JSON; `undefined` when it is none. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

export const NOTHING = new Uint8Array(0);
