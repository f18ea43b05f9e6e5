/**
 * A store's root, held open. Work goes through `/proc/self/fd/N/…`, so that a mount that vanishes from
 * the path cannot swallow a file.
 */
import { dlopen, FFIType } from 'bun:ffi';
import { closeSync, constants, fstatSync, openSync } from 'node:fs';

const { symbols } = dlopen('libc.so.6', {
  dup2: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
});

/** How long the number of a revoked handle stays taken, so that no late writer meets another file there. */
const REVOKED_KEPT_MS = 60_000;
/** A directory that is always there, has none of our names, and in which nothing can be made. */
const NOWHERE = '/proc/self/fdinfo';

export interface HeldRoot {
  readonly fd: number;
  /** Decimal, as the probe gives them. */
  readonly device: string;
  readonly inode: string;
  at(relative: string): string;
  /**
   * Lets go of the file system at once, so that it can be unmounted. Paths given out before lead
   * nowhere: every use of them fails.
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
      const tomb = openSync(NOWHERE, constants.O_RDONLY | constants.O_DIRECTORY);
      symbols.dup2(tomb, fd);
      closeSync(tomb);
      setTimeout(() => closeSync(fd), REVOKED_KEPT_MS).unref();
    },
  };
}
