/** What the binary carries besides code. Run from source, the same files come from build/assets. */
import { AppError } from '../core/errors.ts';

export interface PostgresAssets {
  /** The server's version, e.g. `18.4`. */
  readonly version: string;
  /** Changes with any byte of the server's files. */
  readonly serverHash: string;
  /** Archive of the server's files (platform/archive.ts). */
  server(): ReadableStream<Uint8Array>;
  /** Archive of a cluster as initdb leaves it. */
  cluster(): ReadableStream<Uint8Array>;
}

export interface LibraryAssets {
  /** Paths of zstd-compressed shared libraries, by the name that programs ask for. */
  readonly libraries: Readonly<Record<string, string>>;
  /** Path of the watcher's zstd-compressed native module. */
  readonly watcher: string;
}

function notBuilt(error: unknown): AppError {
  return new AppError('internal', 'build/assets is not there: run `make build-assets`.', {
    cause: error,
  });
}

/** The embedded PostgreSQL. Throws AppError `internal` from a source tree without `make build-assets`. */
export async function postgresAssets(): Promise<PostgresAssets> {
  try {
    const [manifest, server, cluster] = await Promise.all([
      import('../../build/assets/manifest.json', { with: { type: 'json' } }),
      import('../../build/assets/postgres.zst', { with: { type: 'file' } }),
      import('../../build/assets/cluster.zst', { with: { type: 'file' } }),
    ]);
    return {
      version: manifest.default.version,
      serverHash: manifest.default.postgres.hash,
      server: () => Bun.file(server.default).stream(),
      cluster: () => Bun.file(cluster.default).stream(),
    };
  } catch (error) {
    throw notBuilt(error);
  }
}

/** Native code that a bare system lacks. Throws as postgresAssets does. */
export async function libraryAssets(): Promise<LibraryAssets> {
  try {
    const [libgcc, libstdcxx, watcher] = await Promise.all([
      import('../../build/assets/libgcc_s.so.1.zst', { with: { type: 'file' } }),
      import('../../build/assets/libstdc++.so.6.zst', { with: { type: 'file' } }),
      import('../../build/assets/watcher.node.zst', { with: { type: 'file' } }),
    ]);
    return {
      libraries: { 'libgcc_s.so.1': libgcc.default, 'libstdc++.so.6': libstdcxx.default },
      watcher: watcher.default,
    };
  } catch (error) {
    throw notBuilt(error);
  }
}
