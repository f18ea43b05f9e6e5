/** Two sites' deposit bytes over a loopback link, with need lists in memory. */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { CHUNK_BYTES, type DepositFileRow, depositFileId } from '../../src/core/deposit.ts';
import { depositPath } from '../../src/core/deposit-path.ts';
import type { AccountName, DepositId, FileId } from '../../src/core/ids.ts';
import type { Clock, NeedList, PeerLink, UploadDigest } from '../../src/core/ports.ts';
import type { DepositBytesOptions } from '../../src/engine/files/deposits/context.ts';
import {
  createDepositBytes,
  type DepositBytesPart,
} from '../../src/engine/files/deposits/deposit-bytes.ts';
import { createAlarms } from '../../src/platform/alarms.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createDigester } from '../../src/platform/hashing.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics, type MetricsRegistry } from '../../src/platform/metrics.ts';
import { type DirectoryStore, openDirectoryStore } from '../support/directory-store.ts';
import { createLoopbackPair, type LoopbackPair } from './loopback-link.ts';

export class MemoryNeeds implements NeedList {
  readonly rows = new Map<DepositId, DepositFileRow[]>();
  readonly needed = new Map<FileId, DepositFileRow>();
  readonly failures: string[] = [];
  readonly listeners = new Set<() => void>();
  /** Thrown by known() while set; a database that is down. */
  down: Error | null = null;

  /** A row of the peer's arrived. */
  arrive(file: DepositFileRow): void {
    this.commit(file);
    this.needed.set(file.id, file);
    for (const listener of this.listeners) listener();
  }
  /** A row was written here, its bytes held. */
  commit(file: DepositFileRow): void {
    this.rows.set(file.depositId, [...(this.rows.get(file.depositId) ?? []), file]);
  }
  async next(limit: number) {
    return [...this.needed.values()].toReversed().slice(0, limit);
  }
  async held(files: readonly DepositFileRow[]) {
    for (const file of files) this.needed.delete(file.id);
  }
  async failed(file: DepositFileRow, error: string) {
    this.failures.push(`${file.path}: ${error}`);
  }
  async size() {
    return this.needed.size;
  }
  async refill() {
    return 0;
  }
  async known(ids: readonly DepositId[]) {
    if (this.down) throw this.down;
    return new Set(ids.filter((id) => this.rows.has(id)));
  }
  onArrival(listener: () => void) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

export interface TestSite {
  readonly bytes: DepositBytesPart;
  readonly store: DirectoryStore;
  readonly needs: MemoryNeeds;
  readonly alarms: ReturnType<typeof createAlarms>;
  readonly metrics: MetricsRegistry;
  readonly root: string;
  readonly data: string;
  alive: boolean;
  /** Runs all services until stop(). */
  start(): void;
  stop(): Promise<void>;
}

export type SiteOptions = Partial<
  Pick<DepositBytesOptions, 'degradeAfterMs' | 'minFreeRatio' | 'failpoint' | 'pace' | 'log'>
> & { readonly clock?: Clock };

const FAST = {
  healEveryMs: 50,
  judgeEveryMs: 20,
  judgeAfterMs: 0,
  auditEveryMs: 50,
  probeAfterMs: 20,
};

export async function openSite(
  root: string,
  data: string,
  link: PeerLink | null,
  options: SiteOptions = {},
): Promise<TestSite> {
  const store = await openDirectoryStore(root);
  const needs = new MemoryNeeds();
  const clock = options.clock ?? systemClock;
  const alarms = createAlarms(clock, silentLog);
  const metrics = createMetrics();
  const site = { alive: true };
  const bytes = createDepositBytes({
    store,
    link,
    needs,
    dataDir: data,
    clock,
    log: options.log ?? silentLog,
    metrics,
    alarms,
    degradeAfterMs: options.degradeAfterMs ?? 300,
    minFreeRatio: options.minFreeRatio ?? 0,
    peerAlive: () => site.alive,
    ...(options.failpoint ? { failpoint: options.failpoint } : {}),
    pace: { ...FAST, ...options.pace },
  });
  let stopper = new AbortController();
  let runs: Promise<void>[] = [];
  return Object.assign(site, {
    bytes,
    store,
    needs,
    alarms,
    metrics,
    root,
    data,
    start() {
      stopper = new AbortController();
      const { signal } = stopper;
      runs = bytes.services.map((service) =>
        service.run({ signal, clock, log: silentLog, ready: () => undefined }),
      );
    },
    async stop() {
      stopper.abort();
      await Promise.all(runs);
    },
  });
}

export interface Fixture {
  readonly directory: string;
  readonly a: TestSite;
  readonly b: TestSite;
  readonly link: LoopbackPair;
  close(): Promise<void>;
}

export async function openPair(options: SiteOptions = {}, base = ''): Promise<Fixture> {
  const directory = base || (await mkdtemp(path.join(os.tmpdir(), 'twinsite-deposits-')));
  const link = createLoopbackPair();
  const make = async (name: 'a' | 'b') => {
    const data = path.join(directory, `data-${name}`);
    await mkdir(data);
    return await openSite(path.join(directory, `store-${name}`), data, link[name], options);
  };
  const a = await make('a');
  const b = await make('b');
  return {
    directory,
    a,
    b,
    link,
    async close() {
      await Promise.all([a.stop(), b.stop()]);
      await a.store.close();
      await b.store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

let counter = 0;

/** A new deposit id; v7 in form, in order. */
export function newDepositId(): DepositId {
  counter += 1;
  const tail = `${process.pid.toString(16).padStart(8, '0')}${counter.toString(16).padStart(4, '0')}`;
  return `0192f5a0-0000-7000-8000-${tail}` as DepositId;
}

export function rowOf(
  digest: UploadDigest,
  name = 'paper.pdf',
  depositId = newDepositId(),
): DepositFileRow {
  const id = depositFileId(depositId, 0, name, digest.sha256);
  return {
    id,
    depositId,
    ordinal: 0,
    name,
    mediaType: 'application/pdf',
    ...digest,
    path: depositPath('papers' as AccountName, depositId, id, name),
  };
}

export function digestOf(bytes: Uint8Array): UploadDigest {
  const digester = createDigester();
  digester.update(bytes);
  return digester.finish();
}

/** Bytes that differ from place to place, the same for one seed. */
export function sample(size: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let x = seed >>> 0 || 1;
  for (let i = 0; i < words.length; i += 1) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    words[i] = x;
  }
  return new Uint8Array(words.buffer, 0, size);
}

/** One whole deposit at a site, up to the committed row. */
export async function deposit(
  site: TestSite,
  content: Uint8Array,
  options: { readonly name?: string; readonly id?: DepositId } = {},
): Promise<{ readonly row: DepositFileRow; readonly atPeer: boolean }> {
  const upload = await site.bytes.begin({});
  for (let offset = 0; offset < content.length; offset += 300_000)
    await upload.write(content.subarray(offset, offset + 300_000));
  const digest = await upload.finish();
  const row = rowOf(digest, options.name, options.id);
  const { atPeer } = await upload.publish(row);
  site.needs.commit(row);
  upload.committed();
  return { row, atPeer };
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part.slice());
  return new Uint8Array(Buffer.concat(parts));
}

/** Relative path → content, of everything below a directory. */
export async function tree(root: string, below = ''): Promise<Map<string, Buffer>> {
  const out = new Map<string, Buffer>();
  const entries = await readdir(path.join(root, below), { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const relative = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory())
      for (const [key, value] of await tree(root, relative)) out.set(key, value);
    else {
      // One that is gone since it was listed was a temp.
      const content = await readFile(path.join(root, relative)).catch(() => null);
      if (content) out.set(relative, content);
    }
  }
  return out;
}

/** Files that are neither the marker nor trash. */
export async function visible(root: string): Promise<string[]> {
  const all = await tree(root);
  return [...all.keys()]
    .filter((name) => name !== '.twinsite/store.json' && !name.startsWith('.twinsite/trash/'))
    .sort();
}

/** Waits for a condition; fails after ten seconds. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const end = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`Never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export { CHUNK_BYTES };

/** What the promise is rejected with. */
export async function errorOf(work: Promise<unknown> | undefined): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error('It was expected to fail, and did not.');
}
