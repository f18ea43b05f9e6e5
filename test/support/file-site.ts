/** One site's file engine on a real directory; several make a pair over a local link. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { SiteName } from '../../src/core/ids.ts';
import type { PeerLink } from '../../src/core/ports.ts';
import { supervise } from '../../src/core/supervise.ts';
import { createFileEngine, type FileEngine } from '../../src/engine/files/file-engine.ts';
import type { FileEngineOptions } from '../../src/engine/files/options.ts';
import { createAlarms } from '../../src/platform/alarms.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { type DirectoryStore, openDirectoryStore } from './directory-store.ts';
import { openTcpLink, type TcpLink } from './tcp-link.ts';

export interface FileSite {
  readonly name: SiteName;
  readonly root: string;
  readonly data: string;
  readonly engine: FileEngine;
  readonly store: DirectoryStore;
  readonly alarms: ReturnType<typeof createAlarms>;
  stop(): Promise<void>;
}

export type SiteChanges = Partial<FileEngineOptions> & { readonly storeId?: string };

export async function startFileSite(
  name: string,
  directory: string,
  link: PeerLink | null,
  changes: SiteChanges = {},
): Promise<FileSite> {
  const root = path.join(directory, `store-${name}`);
  const data = path.join(directory, `data-${name}`);
  const store = await openDirectoryStore(root, changes.storeId ?? `store-${name}`);
  const log = process.env['FILES_LOG'] ? consoleLog(name) : silentLog;
  const alarms = createAlarms(systemClock, log);
  const site = name as SiteName;
  const engine = createFileEngine({
    dataDir: data,
    store,
    link,
    pairSecret: 'a secret of both',
    site,
    writerEpoch: () => ({ number: 1, site: 'a' as SiteName, holderBit: name === 'a' }),
    settleMs: 50,
    ignore: [],
    massDelete: { count: 100, percent: 10 },
    trash: { days: 30, maxRatio: 0.1 },
    clock: systemClock,
    log,
    metrics: createMetrics(),
    alarms,
    ...changes,
  });
  const stopping = new AbortController();
  const running = Promise.all(
    engine.services.map((service) =>
      supervise(service, { signal: stopping.signal, clock: systemClock, log, random: Math.random }),
    ),
  );
  running.catch((error: unknown) => process.stderr.write(`${name}: ${String(error)}\n`));
  return {
    name: site,
    root,
    data,
    engine,
    store,
    alarms,
    async stop() {
      stopping.abort();
      await running;
      await store.close();
    },
  };
}

function consoleLog(name: string): typeof silentLog {
  const say = (level: string) => (event: string, fields?: object) =>
    process.stderr.write(`${name} ${level} ${event} ${JSON.stringify(fields ?? {})}\n`);
  const log: typeof silentLog = {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: () => log,
  };
  return log;
}

/** Two sites in one temporary directory. */
export class FilePair implements AsyncDisposable {
  readonly directory: string;
  /** `a` is site a's end. */
  readonly links: { readonly a: TcpLink; readonly b: TcpLink };
  readonly changes: SiteChanges;
  #a: FileSite | null = null;
  #b: FileSite | null = null;

  private constructor(directory: string, links: FilePair['links'], changes: SiteChanges) {
    this.directory = directory;
    this.links = links;
    this.changes = changes;
  }

  /** Makes the directories; `start` runs the engines. */
  static async make(changes: SiteChanges = {}): Promise<FilePair> {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'twinsite-files-'));
    for (const name of ['a', 'b']) mkdirSync(path.join(directory, `store-${name}`));
    const links = {
      a: await openTcpLink('b' as SiteName),
      b: await openTcpLink('a' as SiteName),
    };
    links.a.dial(links.b.port);
    links.b.dial(links.a.port);
    return new FilePair(directory, links, changes);
  }

  get a(): FileSite {
    if (!this.#a) throw new Error('site a does not run');
    return this.#a;
  }

  get b(): FileSite {
    if (!this.#b) throw new Error('site b does not run');
    return this.#b;
  }

  rootOf(name: 'a' | 'b'): string {
    return path.join(this.directory, `store-${name}`);
  }

  async startA(changes: SiteChanges = {}): Promise<void> {
    this.#a = await startFileSite('a', this.directory, this.links.a.link, {
      ...this.changes,
      ...changes,
    });
  }

  async startB(changes: SiteChanges = {}): Promise<void> {
    this.#b = await startFileSite('b', this.directory, this.links.b.link, {
      ...this.changes,
      ...changes,
    });
  }

  async start(): Promise<void> {
    await Promise.all([this.startA(), this.startB()]);
  }

  cut(): void {
    this.links.a.cut();
    this.links.b.cut();
  }

  mend(): void {
    this.links.a.mend();
    this.links.b.mend();
  }

  async stopA(): Promise<void> {
    await this.#a?.stop();
    this.#a = null;
  }

  async stopB(): Promise<void> {
    await this.#b?.stop();
    this.#b = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.stopA(), this.stopB()]);
    this.links.a.close();
    this.links.b.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Waits for a condition; throws with `what` (or its value's text) when it does not come. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new Error(`not in ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`);
    }
    await Bun.sleep(20);
  }
}
