/** Two sites in one temporary directory on a real disk, paired, in T1 or T2. */
import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePorts, type Json, runBinary, SiteProcess, until } from './site-process.ts';
import { CuttableProxy } from './tcp-proxy.ts';

export interface PairOptions {
  readonly topology: 't1' | 't2';
  /** Each site reaches the other through a proxy that the test can cut. */
  readonly proxied?: boolean;
  readonly flags?: readonly string[];
}

/** Shorter times than the defaults, within the timer law, so that a test need not wait for minutes. */
export const QUICK = ['--rearm-after', '500ms', '--start-alone-after', '3s'];

export class Pair implements AsyncDisposable {
  readonly root: string;
  readonly a: SiteProcess;
  readonly b: SiteProcess;
  /** a's way to b, and b's way to a. */
  readonly proxies: readonly CuttableProxy[];
  token = '';

  private constructor(
    root: string,
    a: SiteProcess,
    b: SiteProcess,
    proxies: readonly CuttableProxy[],
  ) {
    this.root = root;
    this.a = a;
    this.b = b;
    this.proxies = proxies;
  }

  /** Makes directories and identities; starts nothing. */
  static async make(options: PairOptions): Promise<Pair> {
    const root = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-e2e-'));
    await fs.chmod(root, 0o755);
    const [pa, pb, la, lb] = (await freePorts(4)) as [number, number, number, number];
    const made = await runBinary(['pair', `a=127.0.0.1:${la}`, `b=127.0.0.1:${lb}`, '--out', root]);
    if (made.code !== 0) throw new Error(`pair: ${made.stderr}`);
    const proxies = options.proxied
      ? [await CuttableProxy.listen('127.0.0.1', lb), await CuttableProxy.listen('127.0.0.1', la)]
      : [];
    const stores = { a: path.join(root, 'san_A'), b: path.join(root, 'san_B') };
    for (const directory of [stores.a, stores.b, path.join(root, 'a'), path.join(root, 'b')]) {
      await fs.mkdir(directory);
    }
    const site = (
      name: 'a' | 'b',
      port: number,
      peerPort: number,
      proxy: CuttableProxy | undefined,
    ) =>
      new SiteProcess({
        name,
        root: path.join(root, name),
        store: stores[name],
        filestore: path.join(root, name, 'filestore'),
        identity: path.join(root, `${name}.pem`),
        port,
        peerPort,
        flags: options.flags ?? [],
        ...(options.topology === 't1' ? { peerStore: stores[name === 'a' ? 'b' : 'a'] } : {}),
        ...(proxy ? { peer: `https://127.0.0.1:${proxy.port}` } : {}),
      });
    return new Pair(root, site('a', pa, la, proxies[0]), site('b', pb, lb, proxies[1]), proxies);
  }

  /** Makes, starts, waits until paired, and makes a collection `papers` and a depositor. */
  static async start(options: PairOptions): Promise<Pair> {
    const pair = await Pair.make(options);
    try {
      await Promise.all([pair.a.start(), pair.b.start()]);
      await pair.paired();
      await pair.a.admin('collection', 'add', 'papers');
      pair.token = (
        await pair.a.admin('depositor', 'add', 'alice', '--collection', 'papers')
      ).token;
      await pair.accountKnown(pair.b);
      return pair;
    } catch (error) {
      const tails = `${pair.a.tail()}\n${pair.b.tail()}`;
      await pair[Symbol.asyncDispose]();
      throw new Error(`${String(error)}\n${tails}`);
    }
  }

  /** Both sites say that a deposit made now would be durable at both. */
  async paired(timeoutMs = 60_000): Promise<void> {
    for (const site of [this.a, this.b]) {
      await until(
        `${site.options.name} paired and durable at both`,
        async () => {
          const status = await site.status();
          return status.state === 'paired' && status.durability === 'both' && status.ready;
        },
        timeoutMs,
      ).catch(async (error: unknown) => {
        throw new Error(`${String(error)}\n${this.a.tail()}\n${this.b.tail()}`);
      });
    }
  }

  async accountKnown(site: SiteProcess): Promise<void> {
    await until(
      'the depositor known',
      async () =>
        (await fetch(`${site.url}/deposits?limit=1`, { headers: this.headers() })).status === 200,
    );
  }

  headers(extra: Record<string, string> = {}): Record<string, string> {
    return { authorization: `Bearer ${this.token}`, ...extra };
  }

  async deposit(
    site: SiteProcess,
    body: Uint8Array,
    headers: Record<string, string> = {},
    timeoutMs = 30_000,
  ): Promise<{ status: number; receipt: Json; headers: Headers; ms: number }> {
    const begun = performance.now();
    const response = await fetch(`${site.url}/collections/papers/deposits`, {
      method: 'POST',
      headers: this.headers({
        'content-type': 'application/octet-stream',
        'content-disposition': 'attachment; filename="paper.bin"',
        ...headers,
      }),
      body,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const receipt: Json = await response.json();
    return {
      status: response.status,
      receipt,
      headers: response.headers,
      ms: performance.now() - begun,
    };
  }

  async receipt(site: SiteProcess, id: string): Promise<Json> {
    const response = await fetch(`${site.url}/deposits/${id}`, { headers: this.headers() });
    return { httpStatus: response.status, ...((await response.json()) as object) };
  }

  async bytes(site: SiteProcess, receipt: Json): Promise<{ status: number; body: Uint8Array }> {
    const file = receipt.files[0];
    const response = await fetch(
      `${site.url}/deposits/${receipt.id}/files/${encodeURIComponent(file.name)}`,
      {
        headers: this.headers(),
      },
    );
    return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
  }

  other(site: SiteProcess): SiteProcess {
    return site === this.a ? this.b : this.a;
  }

  cut(): void {
    for (const proxy of this.proxies) proxy.cut();
  }

  heal(): void {
    for (const proxy of this.proxies) proxy.heal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.a.kill9(), this.b.kill9()]);
    for (const proxy of this.proxies) proxy.close();
    // PostgreSQL dies with its site; wait for that, so that the directory can go.
    for (const site of [this.a, this.b]) {
      const pid = site.postmaster()?.pid;
      if (pid) await until('PostgreSQL ended', () => !isAlive(pid), 10_000).catch(() => undefined);
    }
    if (!process.env['TWINSITE_KEEP']) await fs.rm(this.root, { recursive: true, force: true });
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Bytes that no other call gives. */
export function randomBody(sizeBytes: number): Uint8Array {
  if (sizeBytes <= 65_536) return new Uint8Array(randomBytes(sizeBytes));
  const seed = randomBytes(65_536);
  const body = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += seed.length) {
    body.set(seed.subarray(0, Math.min(seed.length, sizeBytes - at)), at);
    body[at] = (at >>> 16) & 255;
  }
  return body;
}
