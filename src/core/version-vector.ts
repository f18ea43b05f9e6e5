/**
 * What a version has seen: for each writer (site and incarnation of its index) the journal number of
 * its latest change. The zero vector `{}` is content found without history: it loses to any version.
 */
export type VersionVector = Readonly<Record<string, number>>;

export type VectorOrder = 'equal' | 'before' | 'after' | 'concurrent';

export const ZERO_VECTOR: VersionVector = {};

export function writerKey(site: string, incarnation: string): string {
  return `${site}/${incarnation}`;
}

export function isZero(vector: VersionVector): boolean {
  for (const key in vector) if ((vector[key] ?? 0) > 0) return false;
  return true;
}

/** `before`: b has seen all of a and more. */
export function compareVectors(a: VersionVector, b: VersionVector): VectorOrder {
  let aMore = false;
  let bMore = false;
  for (const key in a) if ((a[key] ?? 0) > (b[key] ?? 0)) aMore = true;
  for (const key in b) if ((b[key] ?? 0) > (a[key] ?? 0)) bMore = true;
  if (aMore && bMore) return 'concurrent';
  if (aMore) return 'after';
  return bMore ? 'before' : 'equal';
}

/** True when `a` has seen everything that `b` has. */
export function dominates(a: VersionVector, b: VersionVector): boolean {
  const order = compareVectors(a, b);
  return order === 'equal' || order === 'after';
}

export function joinVectors(a: VersionVector, b: VersionVector): VersionVector {
  const joined: Record<string, number> = { ...a };
  for (const key in b) joined[key] = Math.max(joined[key] ?? 0, b[key] ?? 0);
  return joined;
}

/** The vector of a change on top of `base`; `seq` is higher than any this writer ever used. */
export function bumpVector(base: VersionVector, writer: string, seq: number): VersionVector {
  return { ...base, [writer]: seq };
}
