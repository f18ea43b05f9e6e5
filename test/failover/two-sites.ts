/** Two sites' failover on real directories and real probe children, joined by a link with faults. */
import { mkdirSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Epoch, formatEpoch } from '../../src/core/epoch.ts';
import type { SiteName } from '../../src/core/ids.ts';
import type { Alarms, EngineFacts, Log, SiteState } from '../../src/core/ports.ts';
import type { GuardedStore } from '../../src/core/store-guard.ts';
import type { Timers } from '../../src/core/timers.ts';
import { openOwnStore } from '../../src/engine/files/store/own-store.ts';
import { openPeerStore, type PeerStore } from '../../src/engine/files/store/peer-store.ts';
import { createFailover, type Failover } from '../../src/failover/failover.ts';
import { openPairMemory, type PairMemory } from '../../src/failover/pair-memory.ts';
import { createAlarms } from '../../src/platform/alarms.ts';
import { rfc3339, systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics, type MetricsRegistry } from '../../src/platform/metrics.ts';
import { JoinedLinks } from '../support/beat-link.ts';

/** A tenth of the defaults, so that a test need not wait; same proportions. */
export const QUICK: Timers = {
  heartbeatMs: 40,
  suspectAfterMs: 150,
  degradeAfterMs: 250,
  lostAfterMs: 700,
  rearmAfterMs: 200,
  startAloneAfterMs: 1_500,
};

export type Name = 'a' | 'b';

export interface RunningSite {
  readonly name: SiteName;
  readonly failover: Failover;
  readonly store: GuardedStore;
  readonly peerStore: PeerStore | null;
  readonly memory: PairMemory;
  readonly alarms: Alarms;
  readonly metrics: MetricsRegistry;
  readonly facts: { -readonly [K in keyof EngineFacts]: EngineFacts[K] };
  readonly knobs: { partsUp: boolean; busy: boolean };
  /** Every transition, `from>to`. */
  readonly transitions: string[];
  /** Events of the log with fields. */
  readonly logged: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[];
  failure: unknown;
  stop(): Promise<void>;
}

export interface SiteOptions {
  readonly timers?: Timers;
  readonly autoFailbackMs?: number;
  readonly start?: number;
  readonly crashPoint?: (name: string) => void;
}

export class TwoSites {
  readonly base: string;
  readonly links: JoinedLinks;
  private readonly shared: boolean;
  private readonly running = new Set<RunningSite>();
  private starts = 1;

  /** Makes new directories, or goes on with those of another process. */
  constructor(topology: 't1' | 't2', base?: string) {
    this.base = base ?? mkdtempSync(path.join(os.tmpdir(), 'twinsite-failover-'));
    this.shared = topology === 't1';
    this.links = new JoinedLinks('a' as SiteName, 'b' as SiteName);
    for (const name of ['san_a', 'san_b', 'data_a', 'data_b', 'home_a', 'home_b']) {
      mkdirSync(path.join(this.base, name), { recursive: true });
    }
  }

  san(name: Name): string {
    return path.join(this.base, `san_${name}`);
  }
  data(name: Name): string {
    return path.join(this.base, `data_${name}`);
  }
  filestore(name: Name): string {
    return path.join(this.base, `home_${name}`, 'filestore');
  }
  /** What the link at `name` names: `a`, `b` or the path. */
  target(name: Name): string {
    const target = readlinkSync(this.filestore(name));
    return target === this.san('a') ? 'a' : target === this.san('b') ? 'b' : target;
  }

  async start(name: Name, options: SiteOptions = {}): Promise<RunningSite> {
    const site = name as SiteName;
    const peer = (name === 'a' ? 'b' : 'a') as SiteName;
    const link = this.links[name];
    const transitions: string[] = [];
    const logged: RunningSite['logged'] = [];
    const log: Log = {
      ...silentLog,
      info: (event, fields = {}) => {
        logged.push({ event, fields });
        if (event === 'failover.transition') transitions.push(`${fields['from']}>${fields['to']}`);
      },
      warn: (event, fields = {}) => {
        logged.push({ event, fields });
      },
      child: () => log,
    };
    const alarms = createAlarms(systemClock, silentLog);
    const metrics = createMetrics();
    const memory = await openPairMemory(this.data(name), log);
    memory.answerOn(link);
    const late: { failover?: Failover } = {};
    const store = await openOwnStore({
      root: this.san(name),
      dataDir: this.data(name),
      identity: { pairId: 'pair', site },
      peerKnowsStoreId: () => memory.peerKnowsOwnStore(),
      peerStoreId: () => late.failover?.announcedPeerStoreId() ?? null,
      clock: systemClock,
      log,
      alarms,
      deadlineMs: 400,
    });
    const peerStore = this.shared
      ? await openPeerStore({
          root: this.san(peer as Name),
          pairId: 'pair',
          peer,
          peerStoreId: () => memory.peerStoreId(),
          own: () => null,
          clock: systemClock,
          log,
          deadlineMs: 400,
        })
      : null;
    const facts: RunningSite['facts'] = {
      fileRoot: 'equal',
      fileSeq: 1,
      filesDrained: true,
      databaseStreaming: true,
      storeHealth: { ok: true },
      storeId: store.id,
      load: 0,
    };
    const knobs = { partsUp: true, busy: false };
    const failover = createFailover({
      site,
      peer,
      link,
      peerUrl: 'https://peer:7443',
      ownStore: store,
      peerStore,
      memory,
      filestore: this.filestore(name),
      dataDir: this.data(name),
      timers: options.timers ?? QUICK,
      start: options.start ?? this.starts++,
      partsUp: () => knobs.partsUp,
      facts: () => facts,
      whenIdle: async () => {
        while (knobs.busy) await systemClock.sleep(5);
      },
      autoFailbackMs: options.autoFailbackMs ?? null,
      clock: systemClock,
      log,
      alarms,
      metrics,
      timeText: rfc3339,
      ...(options.crashPoint === undefined ? {} : { crashPoint: options.crashPoint }),
    });
    late.failover = failover;
    const stopping = new AbortController();
    const context = {
      signal: stopping.signal,
      clock: systemClock,
      log,
      ready: () => undefined,
    };
    const result: RunningSite = {
      name: site,
      failover,
      store,
      peerStore,
      memory,
      alarms,
      metrics,
      facts,
      knobs,
      transitions,
      logged,
      failure: null,
      stop: async () => {
        if (!this.running.delete(result)) return;
        stopping.abort();
        this.links.drop(name);
        await all;
        await store.close();
        await peerStore?.close();
      },
    };
    const all = Promise.all(
      [failover.service, store.service, ...(peerStore ? [peerStore.service] : [])].map((service) =>
        service.run(context).catch((error: unknown) => {
          result.failure = error;
        }),
      ),
    );
    this.running.add(result);
    return result;
  }

  /** Both, until they are paired. */
  async startBoth(options: SiteOptions = {}): Promise<{ a: RunningSite; b: RunningSite }> {
    const a = await this.start('a', options);
    const b = await this.start('b', options);
    await this.paired(a, b);
    return { a, b };
  }

  async paired(a: RunningSite, b: RunningSite): Promise<void> {
    await until('both paired', () => stateOf(a) === 'paired' && stateOf(b) === 'paired');
    await until(
      'both know that their stores are equal',
      () => equalNow(a) && equalNow(b) && a.store.settled() && b.store.settled(),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const site of [...this.running]) await site.stop();
    rmSync(this.base, { recursive: true, force: true });
  }
}

function equalNow(site: RunningSite): boolean {
  const epoch = site.failover.view().epoch;
  const equal = site.memory.equal()?.epoch ?? null;
  return epoch !== null && equal !== null && formatEpoch(epoch) === formatEpoch(equal);
}

export function stateOf(site: RunningSite): SiteState {
  return site.failover.view().state;
}

export function epochOf(site: RunningSite): string | null {
  const epoch: Epoch | null = site.failover.view().epoch;
  return epoch === null ? null : formatEpoch(epoch);
}

/** Waits for a condition; the deadline is for a broken program, not for a slow machine. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<number> {
  const beganMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - beganMs > timeoutMs) throw new Error(`not in time: ${what}`);
    await systemClock.sleep(5);
  }
  return performance.now() - beganMs;
}

/** What a promise was rejected with; fails when it was not. */
export async function rejection(
  promise: Promise<unknown>,
): Promise<{ code?: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { code?: string; message: string };
  }
  throw new Error('it was not rejected');
}
