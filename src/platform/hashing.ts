/** Digests of content as it passes, in Bun's native code: nothing is buffered. */
import { CHUNK_BYTES } from '../core/deposit.ts';
import type { UploadDigest } from '../core/ports.ts';

/** Longer pieces are hashed in slices of this size, so that the event loop turns in between. */
export const SLICE_BYTES = 256 * 1024;

export interface ContentDigester {
  update(bytes: Uint8Array): void;
  /** Call once, after the last byte. */
  finish(): UploadDigest;
}

/** SHA-256 whole and per chunk of CHUNK_BYTES, MD5 and size. About 350 MiB/s on one core. */
export function createDigester(): ContentDigester {
  const md5 = new Bun.CryptoHasher('md5');
  const chunkSha256: string[] = [];
  // While the first chunk lasts, its digest is the whole's too: small files are hashed once.
  let whole: Bun.CryptoHasher | null = null;
  let chunk = new Bun.CryptoHasher('sha256');
  let inChunk = 0;
  let sizeBytes = 0;

  const closeChunk = () => {
    whole ??= chunk.copy();
    chunkSha256.push(chunk.digest('hex'));
    chunk = new Bun.CryptoHasher('sha256');
    inChunk = 0;
  };
  return {
    update(bytes) {
      md5.update(bytes);
      sizeBytes += bytes.length;
      for (let offset = 0; offset < bytes.length; ) {
        const part = bytes.subarray(offset, offset + CHUNK_BYTES - inChunk);
        whole?.update(part);
        chunk.update(part);
        inChunk += part.length;
        offset += part.length;
        if (inChunk === CHUNK_BYTES) closeChunk();
      }
    },
    finish() {
      if (inChunk > 0) closeChunk();
      const sha256 = (whole ?? chunk).digest('hex');
      return { sizeBytes, sha256, md5: md5.digest('hex'), chunkSha256 };
    },
  };
}

/** SHA-256 (hex) of one piece. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return new Bun.CryptoHasher('sha256').update(bytes).digest('hex');
}

/** A running SHA-256. */
export function createSha256(): {
  update(bytes: Uint8Array): void;
  /** Call once. */
  hex(): string;
} {
  const hasher = new Bun.CryptoHasher('sha256');
  return {
    update: (bytes) => {
      hasher.update(bytes);
    },
    hex: () => hasher.digest('hex'),
  };
}

/** A fast 64-bit fingerprint against accidents (not adversaries): two readings of one slice. */
export function fingerprint(bytes: Uint8Array, seed: bigint): bigint {
  return Bun.hash.xxHash3(bytes, seed);
}

/** Cuts a piece into slices of at most SLICE_BYTES, without copying. */
export function* slices(bytes: Uint8Array): Generator<Uint8Array> {
  if (bytes.length <= SLICE_BYTES) {
    yield bytes;
    return;
  }
  for (let offset = 0; offset < bytes.length; offset += SLICE_BYTES) {
    yield bytes.subarray(offset, offset + SLICE_BYTES);
  }
}
