/**
 * Where a demo lives. Two "hosts" and two "SANs" in one directory:
 *   san_A/ san_B/      the stores
 *   a/ b/              each host: data/, identity.pem, and filestore, the link that flips
 *   a.log b.log        what the sites say
 *   twinsite.toml      settings of both; keeps them apart from a service of this machine
 *   demo.json          marks the directory as ours
 */
import { constants, existsSync, promises as fs } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import { AppError } from '../../core/errors.ts';
import type { SiteName } from '../../core/ids.ts';

export type Topology = 't1' | 't2';
export const SITES = ['a', 'b'] as const;
export type DemoSiteName = (typeof SITES)[number];

export interface DemoPorts {
  readonly a: { readonly http: number; readonly peer: number };
  readonly b: { readonly http: number; readonly peer: number };
}

export interface DemoSiteLayout {
  readonly name: DemoSiteName;
  readonly root: string;
  readonly data: string;
  readonly identity: string;
  readonly filestore: string;
  readonly store: string;
  /** The other site's store; also what this host mounts in T1. */
  readonly otherStore: string;
  readonly log: string;
  readonly config: string;
}

const MARKER = 'demo.json';
const CONFIG = '# Settings of both sites of this demo; see docs/configuration.md.\n';
/** Below a demo's directory: where a story goes by default. */
export const STORY_DIRECTORY = 'story';
const ports = z.object({ http: z.number(), peer: z.number() });
const marker = z.object({
  topology: z.enum(['t1', 't2']),
  ports: z.object({ a: ports, b: ports }),
});
export type DemoMarker = z.infer<typeof marker>;

/** The paths of one site; makes nothing. */
export function siteLayout(directory: string, name: DemoSiteName): DemoSiteLayout {
  const root = path.join(directory, name);
  const stores = { a: path.join(directory, 'san_A'), b: path.join(directory, 'san_B') };
  return {
    name,
    root,
    data: path.join(root, 'data'),
    identity: path.join(root, 'identity.pem'),
    filestore: path.join(root, 'filestore'),
    store: stores[name],
    otherStore: stores[name === 'a' ? 'b' : 'a'],
    log: path.join(directory, `${name}.log`),
    config: path.join(directory, 'twinsite.toml'),
  };
}

/** What an earlier demo left in the directory; null for an empty or missing one. Throws AppError `usage` for anybody else's directory. */
export async function readMarker(directory: string): Promise<DemoMarker | null> {
  const names = await fs.readdir(directory).catch(() => []);
  if (names.every((name) => name === STORY_DIRECTORY)) return null;
  const text = await fs.readFile(path.join(directory, MARKER), 'utf8').catch(() => null);
  const parsed = text === null ? null : marker.safeParse(JSON.parse(text));
  if (parsed?.success) return parsed.data;
  throw new AppError(
    'usage',
    `${directory} is not empty and no demo made it. Give an empty or new directory with --dir`,
  );
}

/** Makes directories and identities where they are missing; what is there stays. */
export async function prepareDirectory(directory: string, content: DemoMarker): Promise<void> {
  await fs.mkdir(directory, { recursive: true, mode: 0o755 });
  await fs.writeFile(path.join(directory, MARKER), `${JSON.stringify(content)}\n`);
  const { config } = siteLayout(directory, 'a');
  if (!existsSync(config)) await fs.writeFile(config, CONFIG);
  for (const name of SITES) {
    const site = siteLayout(directory, name);
    for (const each of [site.root, site.store]) await fs.mkdir(each, { recursive: true });
  }
  await makeIdentities(directory, content.ports);
}

async function makeIdentities(directory: string, chosen: DemoPorts): Promise<void> {
  const files = SITES.map((name) => siteLayout(directory, name).identity);
  if (files.every((file) => existsSync(file))) return;
  const { createPair } = await import('../../link/pair-maker.ts');
  const url = (name: DemoSiteName) => `https://127.0.0.1:${chosen[name].peer}`;
  const pair = await createPair({
    a: { site: 'a' as SiteName, url: url('a') },
    b: { site: 'b' as SiteName, url: url('b') },
  });
  for (const name of SITES) {
    await fs.writeFile(siteLayout(directory, name).identity, pair[name], { mode: 0o600 });
  }
}

/** The arguments of `serve` for one site. The peer's address is given, since ports may change. */
export function serveArguments(
  directory: string,
  name: DemoSiteName,
  chosen: DemoPorts,
  topology: Topology,
): string[] {
  const site = siteLayout(directory, name);
  const other = name === 'a' ? 'b' : 'a';
  return [
    'serve',
    ...['--config', site.config],
    ...['--data', site.data, '--identity', site.identity],
    ...['--store', site.store, '--filestore', site.filestore],
    ...(topology === 't1' ? ['--peer-store', site.otherStore] : []),
    ...['--listen', `127.0.0.1:${chosen[name].http}`],
    ...['--peer-listen', `127.0.0.1:${chosen[name].peer}`],
    ...['--peer', `https://127.0.0.1:${chosen[other].peer}`],
  ];
}

/** Four ports from `first` on; else the first free block from 8080 on; else what the kernel gives. */
export async function choosePorts(first: number | null): Promise<DemoPorts> {
  const firsts = first === null ? [8080, 8180, 8280, 8380, 8480] : [first];
  for (const base of firsts) {
    const block = [base, base + 1, base + 2, base + 3];
    const free = await Promise.all(block.map(isFree));
    if (free.every((each) => each)) return portBlock(block);
  }
  if (first === null) return kernelPorts();
  throw new AppError(
    'port-in-use',
    `one of the ports ${first} to ${first + 3} is in use. Choose others with --port`,
  );
}

/** Ports that nobody used a moment ago. */
export async function kernelPorts(): Promise<DemoPorts> {
  const made = await Promise.all([0, 0, 0, 0].map((port) => listen(port)));
  const servers = made.filter((server) => server !== null);
  const block = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map(close));
  if (block.length < made.length) {
    throw new AppError('port-in-use', 'no free ports on 127.0.0.1. Close what uses them');
  }
  return portBlock(block);
}

function portBlock(block: readonly number[]): DemoPorts {
  const [aHttp = 0, bHttp = 0, aPeer = 0, bPeer = 0] = block;
  return { a: { http: aHttp, peer: aPeer }, b: { http: bHttp, peer: bPeer } };
}

async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  if (server) await close(server);
  return server !== null;
}

function listen(port: number): Promise<net.Server | null> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

function close(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/** Whether any user may reach `directory`: every directory above lets others through. */
export async function isOpenToAll(directory: string): Promise<boolean> {
  for (let current = directory; ; current = path.dirname(current)) {
    const { mode } = await fs.stat(current);
    if ((mode & constants.S_IXOTH) === 0) return false;
    if (current === '/') return true;
  }
}
