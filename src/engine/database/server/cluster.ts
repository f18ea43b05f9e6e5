/** The database directory: made from the template once, checked at every start. */
import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { AppError, systemCode } from '../../../core/errors.ts';
import type { Clock, Log } from '../../../core/ports.ts';
import { type Owner, unpackArchive } from '../../../platform/archive.ts';
import { rfc3339 } from '../../../platform/clock.ts';
import { fsyncDirectory, replaceFileDurable } from '../../../platform/durable.ts';
import { diskError, syncTree } from './binaries.ts';
import { newSystemIdentifier, reidentifyControl, reidentifyWal } from './control-file.ts';

const NOTE = z.object({ postgresMajor: z.int(), createdAt: z.string() });
const CONTROL_FILE = 'global/pg_control';
const WAL_PAGE_BYTES = 8192;

export interface ClusterOptions {
  /** `<data>/postgres` */
  readonly directory: string;
  readonly major: number;
  /** The template's major version. */
  readonly templateMajor: number;
  readonly template: () => ReadableStream<Uint8Array>;
  readonly owner: Owner | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** What `openCluster` found. `recreated`: there had been one, and it is gone. */
export type ClusterOrigin = 'existing' | 'first' | 'recreated';

/** Gives an unpacked template an identity of its own. Flushed by the caller. */
export async function reidentifyCluster(cluster: string, wallMs: number): Promise<bigint> {
  const identifier = newSystemIdentifier(wallMs, randomBytes(4).readUInt32LE(0));
  const controlFile = path.join(cluster, CONTROL_FILE);
  const control = reidentifyControl(await fs.readFile(controlFile), identifier, randomBytes(32));
  await fs.writeFile(controlFile, control, { flag: 'r+' });
  const walDirectory = path.join(cluster, 'pg_wal');
  for (const name of await fs.readdir(walDirectory)) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue;
    const handle = await fs.open(path.join(walDirectory, name), 'r+');
    try {
      const page = new Uint8Array(WAL_PAGE_BYTES);
      await handle.read(page, 0, page.length, 0);
      if (reidentifyWal(page, identifier)) await handle.write(page, 0, page.length, 0);
    } finally {
      await handle.close();
    }
  }
  return identifier;
}

async function createCluster(options: ClusterOptions, cluster: string): Promise<void> {
  const temp = await fs.mkdtemp(path.join(options.directory, 'unpacking-'));
  try {
    await unpackArchive(options.template(), temp, options.owner);
    const identifier = await reidentifyCluster(temp, options.clock.wallMs());
    await fs.chmod(temp, 0o700);
    if (options.owner) await fs.chown(temp, options.owner.uid, options.owner.gid);
    await syncTree(temp);
    // A crash before the rename leaves `unpacking-…`, which nothing ever ran on.
    await fs.rename(temp, cluster);
    await fsyncDirectory(options.directory);
    options.log.info('postgres.cluster-created', { systemIdentifier: String(identifier) });
  } catch (error) {
    await fs.rm(temp, { recursive: true, force: true });
    throw diskError(error, options.directory);
  }
}

async function readMajor(cluster: string): Promise<number | null> {
  try {
    return Number.parseInt(await fs.readFile(path.join(cluster, 'PG_VERSION'), 'utf8'), 10);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw new AppError('no-permission', `Cannot read ${cluster}: it must belong to this user.`, {
      cause: error,
    });
  }
}

function wrongMajor(cluster: string, has: number, runs: number): AppError {
  return new AppError(
    'database-incompatible',
    `${cluster} was made by PostgreSQL ${has}, and this program runs ${runs}. Either start the release of ` +
      `Twinsite that ran it (or give --pg-bin with PostgreSQL ${has}), or, with the peer up and holding all ` +
      `records, move that directory away: a new one is made and filled from the peer.`,
  );
}

/** Changes the owner of everything below, without following links; for a new --pg-user. */
async function giveTo(directory: string, owner: Owner): Promise<void> {
  for (const name of await fs.readdir(directory, { recursive: true })) {
    await fs.lchown(path.join(directory, name), owner.uid, owner.gid);
  }
  // Last: a crash before this line is seen at the next start by the directory's owner.
  await fs.lchown(directory, owner.uid, owner.gid);
}

async function checkOwner(cluster: string, owner: Owner | null, log: Log): Promise<void> {
  const { uid } = await fs.lstat(cluster);
  const wanted = owner?.uid ?? process.getuid?.() ?? uid;
  if (uid === wanted) return;
  if (owner === null) {
    throw new AppError(
      'no-permission',
      `${cluster} belongs to user ${uid}: run Twinsite as that user or as root, or chown -R it.`,
    );
  }
  log.info('postgres.owner-changed', { from: uid, to: owner.uid });
  await giveTo(cluster, owner);
}

/**
 * Makes the cluster when there is none, and checks version and owner of one that exists. Throws
 * AppError `database-incompatible`, `no-permission` or `storage`.
 */
export async function openCluster(options: ClusterOptions): Promise<ClusterOrigin> {
  const cluster = path.join(options.directory, 'cluster');
  const noteFile = path.join(options.directory, 'initialised.json');
  const note = await fs.readFile(noteFile, 'utf8').then(
    (text) => NOTE.safeParse(JSON.parse(text)).data ?? null,
    () => null,
  );
  const has = await readMajor(cluster);
  if (has !== null) {
    if (has !== options.major) throw wrongMajor(cluster, has, options.major);
    await checkOwner(cluster, options.owner, options.log);
  } else {
    if (options.major !== options.templateMajor) {
      throw new AppError(
        'database-incompatible',
        `A new database needs PostgreSQL ${options.templateMajor}, and --pg-bin has ${options.major}.`,
      );
    }
    await createCluster(options, cluster);
  }
  if (has === null || note === null) {
    // A crash before this line: the cluster is there without its note, which is written next time.
    const text = { postgresMajor: options.major, createdAt: rfc3339(options.clock.wallMs()) };
    await replaceFileDurable(noteFile, `${JSON.stringify(text)}\n`);
  }
  if (has !== null) return 'existing';
  return note === null ? 'first' : 'recreated';
}
