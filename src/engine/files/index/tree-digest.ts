/**
 * The digest of the whole tree: the sum of a keyed hash of each live entry, modulo 2^256. One change
 * costs one subtraction and one addition; equal sums mean equal trees, because nobody without the
 * pair's secret can make entries whose hashes cancel out.
 */
import { digestInput, type ManifestEntry } from '../../../core/manifest.ts';

const MASK = (1n << 256n) - 1n;

export interface TreeDigest {
  /** What the entry adds: 0 for a tombstone. */
  weight(entry: ManifestEntry): bigint;
}

export function createTreeDigest(pairSecret: string): TreeDigest {
  return {
    weight(entry) {
      if (entry.deleted) return 0n;
      const hasher = new Bun.CryptoHasher('sha256', pairSecret);
      hasher.update(digestInput(entry));
      return BigInt(`0x${hasher.digest('hex')}`);
    },
  };
}

export function moveSum(sum: bigint, minus: bigint, plus: bigint): bigint {
  return (sum - minus + plus) & MASK;
}

/** 64 hex digits. */
export function sumText(sum: bigint): string {
  return sum.toString(16).padStart(64, '0');
}
