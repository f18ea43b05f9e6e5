/** One look at a name: what is there, as the manifest understands it. */
import { type BigIntStats, lstatSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import type { EntryType } from '../../../core/manifest.ts';
import type { Observed } from '../../../core/scan-judgement.ts';
import type { HeldDirectory } from './open-directories.ts';

export type Look =
  | { readonly kind: 'here'; readonly seen: Observed; readonly device: bigint }
  | { readonly kind: 'absent' }
  /** A socket, pipe or device: reported, never replicated. */
  | { readonly kind: 'special' };

const ABSENT: Look = { kind: 'absent' };
const SPECIAL: Look = { kind: 'special' };

export function observe(stat: BigIntStats): Observed | null {
  const type: EntryType | null = stat.isFile()
    ? 'file'
    : stat.isDirectory()
      ? 'dir'
      : stat.isSymbolicLink()
        ? 'symlink'
        : null;
  if (type === null) return null;
  return {
    type,
    size: Number(stat.size),
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    ino: stat.ino,
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
  };
}

function toLook(stat: BigIntStats): Look {
  const seen = observe(stat);
  return seen ? { kind: 'here', seen, device: stat.dev } : SPECIAL;
}

/** Never follows a symlink. Rejects with the system's code, ENOENT excepted. */
export async function look(directory: HeldDirectory, name: string): Promise<Look> {
  try {
    return toLook(await lstat(directory.at(name), { bigint: true }));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return ABSENT;
    throw error;
  }
}

/** For the instant before and after a rename, where nothing may come between. */
export function lookNow(directory: HeldDirectory, name: string): Look {
  try {
    return toLook(lstatSync(directory.at(name), { bigint: true }));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return ABSENT;
    throw error;
  }
}

/** The names in a directory, bytes as latin-1. */
export async function namesIn(directory: HeldDirectory): Promise<readonly string[]> {
  const names = await readdir(directory.self, { encoding: 'buffer' });
  return names.map((name) => (name as Buffer).toString('latin1'));
}
