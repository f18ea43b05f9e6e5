/** All that must be in place before the server can be started: account, programs, cluster, configuration. */
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AppError } from '../../../core/errors.ts';
import type { Alarms, Clock, Log } from '../../../core/ports.ts';
import type { Owner } from '../../../platform/archive.ts';
import { libraryAssets, postgresAssets } from '../../../platform/assets.ts';
import { replaceFileDurable } from '../../../platform/durable.ts';
import { findBarrier, makeEnterable, resolveServerAccount } from './account.ts';
import { foreignBinaries, installBinaries, type ServerBinaries } from './binaries.ts';
import { openCluster } from './cluster.ts';
import { HBA_CONFIGURATION, renderConfiguration } from './configuration.ts';

export interface PrepareOptions {
  readonly dataDir: string;
  /** `<data>/postgres` */
  readonly directory: string;
  readonly socketDirectory: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly pgUser: string | undefined;
  readonly pgBin: string | undefined;
}

export interface PreparedServer {
  readonly binaries: ServerBinaries;
  readonly cluster: string;
  readonly configuration: string;
  readonly owner: Owner | null;
  /** The server cannot enter a directory above --data by its own right. */
  readonly readSearch: boolean;
}

/** CAP_DAC_READ_SEARCH, and CAP_SETPCAP to hand it on. */
const NEEDED_CAPABILITIES = (1n << 2n) | (1n << 8n);

async function hasReadSearchCapability(): Promise<boolean> {
  const status = await fs.readFile('/proc/self/status', 'utf8').catch(() => '');
  const permitted = /^CapPrm:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return (BigInt(`0x${permitted}`) & NEEDED_CAPABILITIES) === NEEDED_CAPABILITIES;
}

/** Whether the server needs help to reach its directories; tells once which directory and what to do. */
async function needsReadSearch(
  targets: readonly string[],
  owner: Owner | null,
  log: Log,
): Promise<boolean> {
  if (owner === null) return false;
  for (const target of targets) {
    const barrier = await findBarrier(target, owner);
    if (barrier === null) continue;
    const advice = `chmod a+x ${barrier}`;
    if (!(await hasReadSearchCapability())) {
      throw new AppError(
        'no-permission',
        `PostgreSQL runs as user ${owner.uid} and cannot enter ${barrier}: ${advice}, or choose another --data.`,
      );
    }
    log.warn('postgres.barrier', {
      directory: barrier,
      user: owner.uid,
      text: `PostgreSQL gets the right to pass every directory, since its user cannot enter ${barrier}; ${advice} avoids that`,
    });
    return true;
  }
  return false;
}

async function makeDirectories(options: PrepareOptions, owner: Owner | null): Promise<void> {
  await fs.mkdir(options.directory, { recursive: true, mode: 0o711 });
  if (owner !== null) {
    await makeEnterable(options.dataDir);
    await makeEnterable(options.directory);
  }
  await fs.mkdir(options.socketDirectory, { recursive: true, mode: 0o700 });
  // Whatever the umask or an earlier run left; the socket's only lock is this directory's mode.
  await fs.chmod(options.socketDirectory, 0o700);
  if (owner !== null) await fs.chown(options.socketDirectory, owner.uid, owner.gid);
}

async function hasDevShm(): Promise<boolean> {
  return fs.stat('/dev/shm').then(
    (stat) => stat.isDirectory() && (stat.mode & 0o002) !== 0,
    () => false,
  );
}

/** Bytes in pg_wal: they count as free for the limit on them, or it would chase its own tail. */
async function walBytes(directory: string): Promise<number> {
  const wal = path.join(directory, 'cluster/pg_wal');
  let total = 0;
  for (const name of await fs.readdir(wal)) {
    total += await fs.stat(path.join(wal, name)).then(
      (stat) => stat.size,
      () => 0,
    );
  }
  return total;
}

/** Writes what has changed of the server's configuration and returns its directory. */
export async function writeConfiguration(
  options: Pick<PrepareOptions, 'directory' | 'socketDirectory'>,
  major: number,
): Promise<string> {
  const configuration = path.join(options.directory, 'conf');
  await fs.mkdir(configuration, { recursive: true, mode: 0o755 });
  await fs.chmod(configuration, 0o755);
  const disk = await fs.statfs(options.directory);
  const files = {
    'postgresql.conf': renderConfiguration({
      socketDirectory: options.socketDirectory,
      freeDiskBytes: disk.bavail * disk.bsize + (await walBytes(options.directory)),
      memoryBytes: os.totalmem(),
      major,
      hasDevShm: await hasDevShm(),
    }),
    'pg_hba.conf': HBA_CONFIGURATION,
    'pg_ident.conf': '',
  };
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(configuration, name);
    const known = await fs.readFile(file, 'utf8').catch(() => null);
    if (known === text) continue;
    await replaceFileDurable(file, text, 0o644);
    await fs.chmod(file, 0o644);
  }
  return configuration;
}

function raiseRecreated(alarms: Alarms, cluster: string): void {
  alarms.raise({
    code: 'database-recreated',
    severity: 'critical',
    text: `${cluster} was gone: an empty database took its place and is filled from the peer.`,
    runbook: 'operations.md#database-recreated',
  });
}

/** Puts everything in place, however often it is called. Throws AppError for what a person must mend. */
export async function prepareServer(options: PrepareOptions): Promise<PreparedServer> {
  const cluster = path.join(options.directory, 'cluster');
  const owner = await resolveServerAccount(options.dataDir, cluster, options.pgUser);
  await makeDirectories(options, owner);
  const assets = await postgresAssets();
  const binaries =
    options.pgBin === undefined
      ? await installBinaries({
          directory: options.directory,
          version: assets.version,
          hash: assets.serverHash,
          archive: assets.server,
          libraries: (await libraryAssets()).libraries,
          log: options.log,
        })
      : await foreignBinaries(options.pgBin);
  const origin = await openCluster({
    directory: options.directory,
    major: binaries.major,
    templateMajor: Number.parseInt(assets.version, 10),
    template: assets.cluster,
    owner,
    clock: options.clock,
    log: options.log,
  });
  if (origin === 'recreated') raiseRecreated(options.alarms, cluster);
  const configuration = await writeConfiguration(options, binaries.major);
  const targets = [cluster, options.socketDirectory, path.dirname(binaries.program)];
  const readSearch = await needsReadSearch(targets, owner, options.log);
  return { binaries, cluster, configuration, owner, readSearch };
}
