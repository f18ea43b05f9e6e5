/** Reads what a file holds, for its hash: fsynced first, and only if it stood still meanwhile. */
import { constants, type FileHandle, open, readlink } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import { type Observed, observedToken } from '../../../core/scan-judgement.ts';
import { createSha256, sha256Hex } from '../../../platform/hashing.ts';
import { look, observe } from './look.ts';
import type { HeldDirectory } from './open-directories.ts';

const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const PIECE_BYTES = 256 * 1024;

export interface Content {
  readonly hash: string;
  /** Of a symlink. */
  readonly target: string | null;
  readonly size: number;
}

/** Null when it changed or went away meanwhile. */
export type ContentResult = { readonly content: Content; readonly seen: Observed } | null;

async function hashHandle(handle: FileHandle, size: number): Promise<string> {
  const hasher = createSha256();
  const piece = Buffer.allocUnsafe(Math.max(1, Math.min(PIECE_BYTES, size)));
  for (let offset = 0; offset < size; ) {
    const { bytesRead } = await handle.read(
      piece,
      0,
      Math.min(piece.length, size - offset),
      offset,
    );
    if (bytesRead === 0) break;
    hasher.update(piece.subarray(0, bytesRead));
    offset += bytesRead;
  }
  return hasher.hex();
}

/** What the open file is, or null when it is no regular file. */
export async function observeHandle(handle: FileHandle): Promise<Observed | null> {
  return observe(await handle.stat({ bigint: true }));
}

/**
 * SHA-256 of a file that is still as `expected`. With `flush` its bytes are fsynced first: bytes that
 * a power cut can take back are not told to the peer, and a mapped write shows in the time stamp.
 */
export async function readFileContent(
  directory: HeldDirectory,
  name: string,
  expected: Observed,
  flush: boolean,
): Promise<ContentResult> {
  const handle = await open(directory.at(name), FLAGS).catch((error: unknown) => {
    if (['ENOENT', 'ELOOP', 'ENXIO'].includes(systemCode(error) ?? '')) return null;
    throw error;
  });
  if (!handle) return null;
  try {
    if (flush) await handle.sync();
    const before = await observeHandle(handle);
    if (!before || observedToken(before) !== observedToken(expected)) return null;
    const hash = await hashHandle(handle, before.size);
    const after = await observeHandle(handle);
    if (!after || observedToken(after) !== observedToken(before)) return null;
    return { content: { hash, target: null, size: before.size }, seen: after };
  } finally {
    await handle.close();
  }
}

/** A symlink's target, as bytes, and its hash. */
export async function readLinkContent(
  directory: HeldDirectory,
  name: string,
  expected: Observed,
): Promise<ContentResult> {
  const target = await readlink(directory.at(name), { encoding: 'buffer' }).catch(
    (error: unknown) => {
      if (['ENOENT', 'EINVAL'].includes(systemCode(error) ?? '')) return null;
      throw error;
    },
  );
  if (target === null) return null;
  const again = await look(directory, name);
  if (again.kind !== 'here' || observedToken(again.seen) !== observedToken(expected)) return null;
  const content = {
    hash: sha256Hex(target),
    target: target.toString('latin1'),
    size: target.length,
  };
  return { content, seen: again.seen };
}
