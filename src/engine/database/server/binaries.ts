/** The server's programs: unpacked once per version under --data, or the administrator's own. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { Log } from '../../../core/ports.ts';
import { unpackArchive } from '../../../platform/archive.ts';
import { fsyncDirectory } from '../../../platform/durable.ts';
import { syncFileSystem } from '../../../platform/libc.ts';

export interface ServerBinaries {
  /** Absolute path of `postgres`. */
  readonly program: string;
  /** e.g. `18.4` */
  readonly version: string;
  readonly major: number;
  /** Where libstdc++ and libgcc_s come from on a machine that has none; null elsewhere. */
  readonly fallbackLibraries: string | null;
}

const VERSION_DEADLINE_MS = 15_000;

/** Flushes the whole file system that holds `directory`: one call instead of one per file. */
export async function syncTree(directory: string): Promise<void> {
  const handle = await fs.open(directory, 'r');
  try {
    syncFileSystem(handle.fd);
  } finally {
    await handle.close();
  }
}

/** A full disk told as such; anything else as it came. */
export function diskError(error: unknown, target: string): unknown {
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new AppError(
      'storage',
      `No space left in ${target}, where PostgreSQL needs 200 MiB to start: free some.`,
      {
        cause: error,
        kind: 'transient',
      },
    );
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new AppError('no-permission', `Cannot write to ${target} (${code}).`, { cause: error });
  }
  return error;
}

async function versionOf(
  program: string,
  environment: Readonly<Record<string, string>>,
): Promise<{ version: string } | { failure: string }> {
  try {
    const child = Bun.spawn([program, '--version'], {
      env: environment,
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
      timeout: VERSION_DEADLINE_MS,
      killSignal: 'SIGKILL',
    });
    const [out, err] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    const version = /PostgreSQL\) (\d+(?:\.\d+)?)/.exec(out)?.[1];
    return version === undefined ? { failure: (err || out).trim() } : { version };
  } catch (error) {
    return { failure: describeError(error) };
  }
}

/** Runs `postgres --version`, plainly and then with the libraries brought along. */
async function inspect(program: string, fallback: string | null): Promise<ServerBinaries> {
  const plain = await versionOf(program, { LC_ALL: 'C' });
  let found = plain;
  if ('failure' in plain && fallback !== null) {
    found = await versionOf(program, { LC_ALL: 'C', LD_LIBRARY_PATH: fallback });
  }
  if ('failure' in found) {
    throw new AppError(
      'database-incompatible',
      `${program} does not run: ${found.failure}. Is --data mounted noexec, or is glibc older than 2.27?`,
    );
  }
  return {
    program,
    version: found.version,
    major: Number.parseInt(found.version, 10),
    fallbackLibraries: found === plain ? null : fallback,
  };
}

/** A server that the administrator installed. Throws AppError `database-incompatible` when it does not run. */
export async function foreignBinaries(pgBin: string): Promise<ServerBinaries> {
  return inspect(path.resolve(pgBin, 'postgres'), null);
}

export interface InstallOptions {
  /** `<data>/postgres` */
  readonly directory: string;
  readonly version: string;
  readonly hash: string;
  readonly archive: () => ReadableStream<Uint8Array>;
  /** Paths of zstd-compressed libraries that the machine may lack, by name. */
  readonly libraries: Readonly<Record<string, string>>;
  readonly log: Log;
}

async function unpackLibraries(
  libraries: InstallOptions['libraries'],
  directory: string,
): Promise<void> {
  await fs.mkdir(directory, { mode: 0o755 });
  await fs.chmod(directory, 0o755);
  for (const [name, compressed] of Object.entries(libraries)) {
    const target = path.join(directory, name);
    await fs.writeFile(target, await Bun.zstdDecompress(await Bun.file(compressed).bytes()));
    await fs.chmod(target, 0o755);
  }
}

/** Unpacks the embedded server unless this very one is there, checks that it runs, removes older ones. */
export async function installBinaries(options: InstallOptions): Promise<ServerBinaries> {
  const name = `bin-${options.version}-${options.hash}`;
  const target = path.join(options.directory, name);
  const program = path.join(target, 'bin/postgres');
  const fallback = path.join(target, 'fallback');
  const isThere = await fs.stat(target).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    const temp = await fs.mkdtemp(path.join(options.directory, 'unpacking-'));
    try {
      await fs.chmod(temp, 0o755);
      await unpackArchive(options.archive(), temp, null);
      await unpackLibraries(options.libraries, path.join(temp, 'fallback'));
      await syncTree(temp);
      // A crash before the rename leaves `unpacking-…`, removed below at the next start.
      await fs.rename(temp, target);
      await fsyncDirectory(options.directory);
    } catch (error) {
      await fs.rm(temp, { recursive: true, force: true });
      throw diskError(error, options.directory);
    }
    options.log.info('postgres.unpacked', { version: options.version, directory: target });
  }
  const binaries = await inspect(program, fallback);
  for (const other of await fs.readdir(options.directory)) {
    const isOld = other.startsWith('unpacking-') || (other.startsWith('bin-') && other !== name);
    if (isOld) await fs.rm(path.join(options.directory, other), { recursive: true, force: true });
  }
  return binaries;
}
