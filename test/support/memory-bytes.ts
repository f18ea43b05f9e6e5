/** Deposits' bytes of one site in memory: temps, publishing without replacing, verified reading. */
import { CHUNK_BYTES, type DepositFileRow } from '../../src/core/deposit.ts';
import { AppError } from '../../src/core/errors.ts';
import type { DepositBytes } from '../../src/core/ports.ts';
import { createDigester, sha256Hex } from '../../src/platform/hashing.ts';

export interface MemoryBytes extends DepositBytes {
  /** Published files by path. */
  readonly files: Map<string, Uint8Array>;
  /** Uploads begun and neither committed nor discarded. */
  readonly open: Set<number>;
  /** Temps that hold bytes now. */
  readonly temps: Map<number, Uint8Array[]>;
  /** Throws what it returns, when the upload begins. */
  refuse: () => Error | null;
  /** Held back before each write. */
  beforeWrite: () => Promise<void>;
  /** Reads that did not end yet. */
  readonly reading: Set<number>;
  bytesWritten: number;
}

export function createMemoryBytes(): MemoryBytes {
  let ids = 0;
  const verified = (file: DepositFileRow): Uint8Array | null => {
    const bytes = bytesPart.files.get(file.path);
    return bytes && sha256Hex(bytes) === file.sha256 ? bytes : null;
  };
  const bytesPart: MemoryBytes = {
    files: new Map(),
    open: new Set(),
    temps: new Map(),
    reading: new Set(),
    refuse: () => null,
    beforeWrite: async () => undefined,
    bytesWritten: 0,
    async begin({ signal }) {
      const refusal = bytesPart.refuse();
      if (refusal) throw refusal;
      ids += 1;
      const id = ids;
      const chunks: Uint8Array[] = [];
      const digester = createDigester();
      bytesPart.open.add(id);
      bytesPart.temps.set(id, chunks);
      const end = () => {
        bytesPart.open.delete(id);
        bytesPart.temps.delete(id);
      };
      return {
        async write(chunk) {
          await bytesPart.beforeWrite();
          if (signal?.aborted) throw new AppError('body-incomplete', 'The upload was given up.');
          digester.update(chunk);
          chunks.push(chunk.slice());
          bytesPart.bytesWritten += chunk.length;
        },
        finish: async () => digester.finish(),
        async publish(file) {
          if (!bytesPart.files.has(file.path)) {
            bytesPart.files.set(file.path, new Uint8Array(Buffer.concat(chunks)));
          }
          bytesPart.temps.delete(id);
          return { atPeer: true };
        },
        committed: end,
        discard: async () => end(),
      };
    },
    async read(file, range, signal) {
      const bytes = verified(file);
      if (!bytes) {
        throw new AppError('content-unavailable', 'Neither site a nor site b holds the bytes now.');
      }
      const part = range ? bytes.subarray(range.start, range.end + 1) : bytes;
      ids += 1;
      const id = ids;
      bytesPart.reading.add(id);
      return (async function* () {
        try {
          for (let at = 0; at < part.length; at += CHUNK_BYTES) {
            if (signal.aborted) return;
            yield part.subarray(at, at + CHUNK_BYTES);
          }
        } finally {
          bytesPart.reading.delete(id);
        }
      })();
    },
    ensureHeld: async (file) => verified(file) !== null,
  };
  return bytesPart;
}
