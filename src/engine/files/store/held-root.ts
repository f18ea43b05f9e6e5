/**
 * A store's root, held open. Work goes through `/proc/self/fd/N/…`, so that a mount that vanishes from
 * the path cannot swallow a file.
 */
import { dlopen, FFIType } from 'bun:ffi';
import { closeSync, constants, fstatSync, mkdtempSync, openSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const { symbols } = dlopen('libc.so.6', {
  dup2: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
});

/** How long the number of a revoked handle stays taken, so that no late writer meets another file there. */
const REVOKED_KEPT_MS = 60_000;

export interface HeldRoot {
  readonly fd: number;
  /** Decimal, as the probe gives them. */
  readonly device: string;
  readonly inode: string;
  at(relative: string): string;
  /**
   * Lets go of the file system at once, so that it can be unmounted. Paths given out before lead to a
   * directory that was removed: every use of them fails.
   */
  revoke(): void;
}

/** Opens a directory. Throws a system error. */
export function holdRoot(root: string): HeldRoot {
  const fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  const stat = fstatSync(fd, { bigint: true });
  let held = true;
  return {
    fd,
    device: String(stat.dev),
    inode: String(stat.ino),
    at: (relative) => (relative === '' ? `/proc/self/fd/${fd}` : `/proc/self/fd/${fd}/${relative}`),
    revoke: () => {
      if (!held) return;
      held = false;
      const nowhere = mkdtempSync(path.join(os.tmpdir(), 'twinsite-revoked-'));
      const tomb = openSync(nowhere, constants.O_RDONLY | constants.O_DIRECTORY);
      rmdirSync(nowhere);
      symbols.dup2(tomb, fd);
      closeSync(tomb);
      setTimeout(() => closeSync(fd), REVOKED_KEPT_MS).unref();
    },
  };
}
