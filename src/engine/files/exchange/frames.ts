/** How contents travel in a `files-get` exchange: frames of kind, item number, length, bytes. */
import { AppError } from '../../../core/errors.ts';

export const FRAME = { data: 1, end: 2, gone: 3, changed: 4 } as const;
export type FrameKind = (typeof FRAME)[keyof typeof FRAME];

export interface Frame {
  readonly kind: FrameKind;
  /** The item's place in the request. */
  readonly item: number;
  readonly payload: Uint8Array;
}

const HEADER_BYTES = 9;
export const MAX_PAYLOAD_BYTES = 1024 * 1024;

export function frameHeader(kind: FrameKind, item: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt8(kind, 0);
  header.writeUInt32BE(item, 1);
  header.writeUInt32BE(length, 5);
  return header;
}

function isKind(value: number): value is FrameKind {
  return value >= FRAME.data && value <= FRAME.changed;
}

/** Whole frames of a byte stream. A payload is valid until the next frame is asked for. */
export async function* readFrames(incoming: AsyncIterable<Uint8Array>): AsyncGenerator<Frame> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of incoming) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    let at = 0;
    while (rest.length - at >= HEADER_BYTES) {
      const kind = rest.readUInt8(at);
      const length = rest.readUInt32BE(at + 5);
      if (!isKind(kind) || length > MAX_PAYLOAD_BYTES) {
        throw new AppError('peer-refused', 'the peer sent a malformed frame of file contents');
      }
      if (rest.length - at < HEADER_BYTES + length) break;
      const from = at + HEADER_BYTES;
      yield { kind, item: rest.readUInt32BE(at + 1), payload: rest.subarray(from, from + length) };
      at = from + length;
    }
    // A copy of the tail, so that a received buffer is not kept for a few bytes.
    rest = at === rest.length ? Buffer.alloc(0) : Buffer.from(rest.subarray(at));
  }
  if (rest.length > 0) throw new AppError('peer-unreachable', 'file contents ended inside a frame');
}

/** Collects frames and sends them in pieces, with back-pressure. */
export class FrameSender {
  readonly #send: (bytes: Uint8Array) => Promise<void>;
  #parts: Uint8Array[] = [];
  #size = 0;

  constructor(send: (bytes: Uint8Array) => Promise<void>) {
    this.#send = send;
  }

  /** `payload` may be reused by the caller when this resolves only if it was flushed: pass copies otherwise. */
  async frame(kind: FrameKind, item: number, payload?: Uint8Array): Promise<void> {
    this.#parts.push(frameHeader(kind, item, payload?.length ?? 0));
    if (payload && payload.length > 0) this.#parts.push(payload);
    this.#size += HEADER_BYTES + (payload?.length ?? 0);
    if (this.#size >= PIECE_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#parts.length === 0) return;
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#size = 0;
    await this.#send(bytes);
  }
}

const PIECE_BYTES = 256 * 1024;
