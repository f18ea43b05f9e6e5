import type { Share } from '../../platform/settings/values.ts';

/** A share of a file system of `totalBytes`, in bytes. */
export function shareBytes(share: Share, totalBytes: number): number {
  return share.kind === 'bytes' ? share.bytes : (totalBytes * share.percent) / 100;
}

/** The same as a ratio of 0..1; 0 while the size is not known. */
export function shareRatio(share: Share, totalBytes: number): number {
  return totalBytes > 0 ? Math.min(1, shareBytes(share, totalBytes) / totalBytes) : 0;
}
