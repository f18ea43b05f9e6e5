/** Positions in PostgreSQL's write-ahead log, as text `16/B374D848` and as numbers of bytes. */

/** `16/B374D848` → bytes since the log began; null when it is no position. */
export function parseLsn(text: string): bigint | null {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (!match) return null;
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** Bytes from `from` to `to`, never negative; 0 when either is unknown. */
export function lsnDistance(from: string | null, to: string | null): number {
  const a = from === null ? null : parseLsn(from);
  const b = to === null ? null : parseLsn(to);
  if (a === null || b === null || b <= a) return 0;
  return Number(b - a);
}
