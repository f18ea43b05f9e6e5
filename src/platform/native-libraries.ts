/**
 * Native code that the program brings along, loaded from memory: a bare system has no libstdc++, a
 * hardened one mounts /tmp noexec, and a predictable name in /tmp is an invitation.
 */
import { dlopen, FFIType, ptr } from 'bun:ffi';
import { writeSync } from 'node:fs';
import { AppError, describeError } from '../core/errors.ts';
import { libraryAssets } from './assets.ts';
import { isCompiled } from './self.ts';

const MFD_CLOEXEC = 1;

/** A name of each library that only it has: asking for it tells whether the library is there. */
const PROBES = { 'libgcc_s.so.1': '_Unwind_GetIP', 'libstdc++.so.6': '__cxa_demangle' } as const;

/** Loads a library into this process; later ones that need it by name then find it. */
function loadLibrary(file: string, symbol: string): void {
  dlopen(file, { [symbol]: { args: [FFIType.ptr], returns: FFIType.ptr } });
}

/**
 * The path of a nameless file in memory with these bytes. It stays open for the life of the process:
 * the loader knows a library by its path, and would take a reused number for the earlier one.
 */
function memoryFile(bytes: Uint8Array): string {
  const { symbols } = dlopen('libc.so.6', {
    memfd_create: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  });
  const name = new TextEncoder().encode('twinsite\0');
  const fd = symbols.memfd_create(ptr(name), MFD_CLOEXEC);
  if (fd < 0) throw new AppError('internal', 'No memory file can be made (memfd_create failed).');
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  return `/proc/self/fd/${fd}`;
}

/** Makes libgcc_s and libstdc++ available to native modules of this process. */
async function ensureLibraries(): Promise<void> {
  const assets = await libraryAssets();
  for (const [name, symbol] of Object.entries(PROBES)) {
    try {
      loadLibrary(name, symbol);
    } catch {
      const bytes = await Bun.zstdDecompress(await Bun.file(assets.libraries[name] ?? '').bytes());
      loadLibrary(memoryFile(bytes), symbol);
    }
  }
}

/** The native half of @parcel/watcher. Throws AppError `internal` with the reason when it cannot be loaded. */
export async function loadWatcherBinding(): Promise<unknown> {
  try {
    if (!isCompiled) return require('@parcel/watcher-linux-x64-glibc/watcher.node') as unknown;
    await ensureLibraries();
    const { watcher } = await libraryAssets();
    const bytes = await Bun.zstdDecompress(await Bun.file(watcher).bytes());
    const module: { exports: unknown } = { exports: {} };
    process.dlopen(module as NodeJS.Module, memoryFile(bytes));
    return module.exports;
  } catch (error) {
    throw new AppError('internal', `The file watcher cannot be loaded: ${describeError(error)}`, {
      cause: error,
    });
  }
}
