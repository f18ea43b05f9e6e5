/** Chunks of a file in this store, each verified before any of it is given out. */
import fs from 'node:fs';
import { promisify } from 'node:util';
import { CHUNK_BYTES, type DepositFileRow } from '../../../core/deposit.ts';
import { createSha256, fingerprint, SLICE_BYTES } from '../../../platform/hashing.ts';
import type { DepositContext } from './context.ts';
import { chunkLength } from './peer-get.ts';

// Plain descriptors: a handle object that a forgotten reader leaves to the collector would throw there.
const open = promisify(fs.open);
const close = promisify(fs.close);
const fstat = promisify(fs.fstat);
const read = promisify(fs.read);

export interface LocalFile {
  /**
   * Verified bytes of one chunk from `from` to `to` (absolute, `to` exclusive); returns the position
   * up to which it could give them: `to`, or less when the chunk is damaged.
   */
  chunk(chunk: number, from: number, to: number): AsyncGenerator<Uint8Array, number>;
  close(): Promise<void>;
}

/** Opens the file when it is a regular file of the right size; else says what is wrong. */
export async function openLocal(
  context: DepositContext,
  file: DepositFileRow,
): Promise<LocalFile | 'missing' | 'damaged'> {
  const { store } = context;
  if (!store.health().ok) return 'missing';
  let fd: number;
  try {
    fd = await open(store.at(file.path), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch {
    return 'missing';
  }
  const stat = await fstat(fd).catch(() => null);
  if (!stat?.isFile() || stat.size !== file.sizeBytes) {
    await close(fd);
    return 'damaged';
  }
  return localFile(file, fd);
}

/** Reads exactly `length` bytes, or null at an error or an early end. */
async function readAt(fd: number, position: number, length: number) {
  const buffer = new Uint8Array(length);
  try {
    for (let filled = 0; filled < length; ) {
      const { bytesRead } = await read(fd, buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) return null;
      filled += bytesRead;
    }
  } catch {
    return null;
  }
  return buffer;
}

function localFile(file: DepositFileRow, fd: number): LocalFile {
  const seed = crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;

  /**
   * First pass: the chunk's digest, and a fingerprint of each slice, so that the second reading is
   * known to be the bytes that were verified without 4 MiB in memory for each reader.
   */
  const verify = async (chunk: number): Promise<readonly bigint[] | Uint8Array | null> => {
    const hash = createSha256();
    const prints: bigint[] = [];
    const start = chunk * CHUNK_BYTES;
    const end = start + chunkLength(file, chunk);
    for (let position = start; position < end; position += SLICE_BYTES) {
      const slice = await readAt(fd, position, Math.min(SLICE_BYTES, end - position));
      if (!slice) return null;
      hash.update(slice);
      if (end - start <= SLICE_BYTES) return hash.hex() === file.chunkSha256[chunk] ? slice : null;
      prints.push(fingerprint(slice, seed));
    }
    return hash.hex() === file.chunkSha256[chunk] ? prints : null;
  };

  return {
    async *chunk(chunk, from, to) {
      const start = chunk * CHUNK_BYTES;
      const verified = await verify(chunk);
      if (verified === null) return from;
      if (verified instanceof Uint8Array) {
        yield verified.subarray(from - start, to - start);
        return to;
      }
      const end = start + chunkLength(file, chunk);
      let given = from;
      for (const [index, print] of verified.entries()) {
        const position = start + index * SLICE_BYTES;
        if (position + SLICE_BYTES <= from || position >= to) continue;
        const slice = await readAt(fd, position, Math.min(SLICE_BYTES, end - position));
        if (!slice || fingerprint(slice, seed) !== print) return given;
        yield slice.subarray(Math.max(0, from - position), to - position);
        given = Math.min(to, position + slice.length);
      }
      return given;
    },
    close: () => close(fd),
  };
}
