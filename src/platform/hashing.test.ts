import { expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { CHUNK_BYTES } from '../core/deposit.ts';
import { createDigester, createSha256, sha256Hex, slices } from './hashing.ts';

const hex = (algorithm: string, bytes: Uint8Array) =>
  createHash(algorithm).update(bytes).digest('hex');

test.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])(
  'digests of %i bytes, whole and per chunk, however they are cut',
  (size) => {
    const bytes = new Uint8Array(size).map((_, index) => index * 31 + (index >> 9));
    for (const cut of [CHUNK_BYTES * 3, 1_000_003]) {
      const digester = createDigester();
      for (let at = 0; at < size; at += cut) digester.update(bytes.subarray(at, at + cut));
      const chunks: string[] = [];
      for (let at = 0; at < size; at += CHUNK_BYTES)
        chunks.push(hex('sha256', bytes.subarray(at, at + CHUNK_BYTES)));
      expect(digester.finish()).toEqual({
        sizeBytes: size,
        sha256: hex('sha256', bytes),
        md5: hex('md5', bytes),
        chunkSha256: chunks,
      });
    }
  },
);

test('small helpers agree with node:crypto', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      const running = createSha256();
      running.update(bytes);
      expect(running.hex()).toBe(hex('sha256', bytes));
      expect(sha256Hex(bytes)).toBe(hex('sha256', bytes));
    }),
  );
});

test('slices are the whole, in order', () => {
  const bytes = new Uint8Array(600_000).map((_, index) => index % 251);
  const parts = [...slices(bytes)];
  expect(parts.map((part) => part.length)).toEqual([262_144, 262_144, 75_712]);
  expect(Buffer.concat(parts).equals(bytes)).toBe(true);
  expect([...slices(new Uint8Array(0))].length).toBe(1);
});
