/** The few calls of libc that Node's API does not have. Linux x64, glibc. */
import { dlopen, FFIType, ptr, toArrayBuffer } from 'bun:ffi';

const { symbols } = dlopen('libc.so.6', {
  renameat2: {
    args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.ptr, FFIType.u32],
    returns: FFIType.i32,
  },
  syncfs: { args: [FFIType.i32], returns: FFIType.i32 },
  flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  __errno_location: { args: [], returns: FFIType.ptr },
});

export { symbols as libc };

const AT_FDCWD = -100;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const LOCK_EX = 2;
const LOCK_NB = 4;

const ERRNO_NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  5: 'EIO',
  11: 'EAGAIN',
  13: 'EACCES',
  17: 'EEXIST',
  18: 'EXDEV',
  20: 'ENOTDIR',
  21: 'EISDIR',
  22: 'EINVAL',
  28: 'ENOSPC',
  30: 'EROFS',
  36: 'ENAMETOOLONG',
  39: 'ENOTEMPTY',
  95: 'EOPNOTSUPP',
  116: 'ESTALE',
};

function errno(): number {
  const location = symbols.__errno_location();
  if (location === null) return 0;
  return new Int32Array(toBytes(location))[0] ?? 0;
}

function toBytes(pointer: NonNullable<ReturnType<typeof symbols.__errno_location>>): ArrayBuffer {
  return toArrayBuffer(pointer, 0, 4);
}

function systemError(call: string, subject: string): Error {
  const number = errno();
  const code = ERRNO_NAMES[number] ?? `E${number}`;
  return Object.assign(new Error(`${code}: ${call} '${subject}'`), { code, errno: -number });
}

function cString(path: string | Uint8Array): Uint8Array {
  const bytes = typeof path === 'string' ? new TextEncoder().encode(path) : path;
  const out = new Uint8Array(bytes.length + 1);
  out.set(bytes);
  return out;
}

function rename2(from: string | Uint8Array, to: string | Uint8Array, flags: number): void {
  const a = cString(from);
  const b = cString(to);
  if (symbols.renameat2(AT_FDCWD, ptr(a), AT_FDCWD, ptr(b), flags) !== 0) {
    throw systemError('renameat2', `${Buffer.from(from)} -> ${Buffer.from(to)}`);
  }
}

/** rename(2) that fails with code EEXIST instead of replacing. Names may be bytes. */
export function renameNoReplace(from: string | Uint8Array, to: string | Uint8Array): void {
  rename2(from, to, RENAME_NOREPLACE);
}

/** Swaps two existing names in one step, so that what was there can be looked at. */
export function renameExchange(a: string | Uint8Array, b: string | Uint8Array): void {
  rename2(a, b, RENAME_EXCHANGE);
}

/** Flushes the whole file system of an open descriptor. Throws with a system code. */
export function syncFileSystem(fd: number): void {
  if (symbols.syncfs(fd) !== 0) throw systemError('syncfs', String(fd));
}

/** Takes an exclusive advisory lock for as long as the descriptor is open; false when held elsewhere. */
export function tryLock(fd: number): boolean {
  return symbols.flock(fd, LOCK_EX | LOCK_NB) === 0;
}
