/** Sets a modification time to the nanosecond, which Node's API cannot. */
import { dlopen, FFIType, ptr } from 'bun:ffi';

const { symbols } = dlopen('libc.so.6', {
  utimensat: {
    args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.i32],
    returns: FFIType.i32,
  },
});

const AT_FDCWD = -100;
const UTIME_OMIT = 0x3ffffffen;
const SECOND_IN_NS = 1_000_000_000n;

/** Best effort: false when the file system refuses. `path` is followed, so give `/proc/self/fd/N`. */
export function setModified(path: string, mtimeNs: bigint): boolean {
  const bytes = Buffer.from(`${path}\u0000`);
  let seconds = mtimeNs / SECOND_IN_NS;
  let nanoseconds = mtimeNs % SECOND_IN_NS;
  if (nanoseconds < 0n) {
    seconds -= 1n;
    nanoseconds += SECOND_IN_NS;
  }
  const times = new BigInt64Array([0n, UTIME_OMIT, seconds, nanoseconds]);
  return symbols.utimensat(AT_FDCWD, ptr(bytes), ptr(times), 0) === 0;
}
