/** The failover manager of one site: joins heartbeat, holder, link and state machine into one service. */
import { formatEpoch } from '../core/epoch.ts';
import type { SiteName } from '../core/ids.ts';
import type {
  Alarms,
  Clock,
  EngineFacts,
  Log,
  Metrics,
  PeerLink,
  SiteControl,
  SiteView,
} from '../core/ports.ts';
import type { Service, ServiceContext } from '../core/service.ts';
import type { PeerStatus, StatusDocument } from '../core/status.ts';
import type { GuardedStore, StoreProbe } from '../core/store-guard.ts';
import type { Timers } from '../core/timers.ts';
import { Commands } from './commands.ts';
import { createEpochStore, type EpochStore } from './epoch-store.ts';
import { FactsTracker } from './facts-tracker.ts';
import { reportMetrics } from './failover-metrics.ts';
import { createFilestoreLink, type FilestoreLink } from './filestore-link.ts';
import { Heartbeat } from './heartbeat.ts';
import { createHolderActions } from './holder-actions.ts';
import { HolderDuty } from './holder-duty.ts';
import { LinkKeeper } from './link-keeper.ts';
import type { PairMemory } from './pair-memory.ts';
import { createPeerNotes } from './peer-notes.ts';
import { SiteLoop } from './site-loop.ts';
import { Switchover } from './switchover.ts';
import { Wake } from './wake.ts';

export interface FailoverOptions {
  readonly site: SiteName;
  /** Null without an identity: the site runs alone. */
  readonly peer: SiteName | null;
  readonly link: PeerLink | null;
  readonly peerUrl: string | null;
  readonly ownStore: GuardedStore;
  /** T1: the peer's store as mounted here. Its service is run by the caller. */
  readonly peerStore: StoreProbe | null;
  readonly memory: PairMemory;
  /** The path of the link that applications use. */
  readonly filestore: string;
  readonly dataDir: string;
  /** Already within the timer law. */
  readonly timers: Timers;
  /** This process's start counter. */
  readonly start: number;
  /** The database is up, the listeners listen: what this site needs before it may serve. */
  readonly partsUp: () => boolean;
  readonly facts: () => EngineFacts;
  /** Resolves when no request runs, or when the signal aborts. */
  readonly whenIdle: (signal: AbortSignal) => Promise<void>;
  /** The first site by name takes the holder back after being paired for this long; null: never. */
  readonly autoFailbackMs: number | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly metrics: Metrics;
  /** Wall time as RFC 3339. */
  readonly timeText: (wallMs: number) => string;
  /** For tests: called at each crash point. */
  readonly crashPoint?: (name: string) => void;
}

export interface Failover {
  readonly service: Service;
  readonly control: SiteControl;
  /**
   * Reads the epoch and puts the link where it belongs: the first thing a start does. The service does
   * it when nobody did. Throws AppError `filestore-invalid`, `no-permission` or `config`.
   */
  prepare(): Promise<void>;
  view(): SiteView;
  /** Was paired once, or started alone. Latches. */
  served(): boolean;
  /** The store id that the peer announces now; null before its first beat. */
  announcedPeerStoreId(): string | null;
  peerStatus(): PeerStatus | null;
  filestoreStatus(): StatusDocument['filestore'];
  /** Calls back after each step that may have changed what is seen here. Returns the way to stop. */
  onChange(listener: () => void): () => void;
}

class Manager implements Failover {
  readonly service: Service;
  readonly control: SiteControl;
  private readonly options: FailoverOptions;
  private readonly tracker: FactsTracker;
  private readonly epochs: EpochStore;
  private readonly filestore: FilestoreLink;
  private readonly keeper: LinkKeeper;
  private readonly heartbeat: Heartbeat | null;
  private readonly commands: Commands;
  private readonly loop: SiteLoop;
  private readonly wake = new Wake();
  private readonly listeners = new Set<() => void>();
  private prepared: Promise<void> | null = null;

  constructor(options: FailoverOptions) {
    this.options = options;
    const { ownStore, peerStore, peer, link } = options;
    this.tracker = new FactsTracker(options.clock, options.timers);
    this.epochs = createEpochStore({ ...options, own: ownStore.probe, peer: peerStore });
    const { epochs } = this;
    this.filestore = createFilestoreLink({
      ...options,
      path: options.filestore,
      ownStore: ownStore.root,
    });
    this.keeper = new LinkKeeper({
      ...options,
      link: this.filestore,
      holder: () => this.holder(),
      lostAfterMs: options.timers.lostAfterMs,
    });
    const { keeper } = this;
    const actions = createHolderActions({ ...options, epochs, keeper });
    const notes = createPeerNotes({ ...options, epoch: () => epochs.current() });
    this.heartbeat = peer === null || link === null ? null : this.makeHeartbeat(peer, link);
    const { heartbeat } = this;
    const shared = peerStore !== null;
    const duty = new HolderDuty({ ...options, shared, heartbeat, epochs, keeper, actions, notes });
    const switchover =
      peer === null || link === null || heartbeat === null
        ? null
        : new Switchover({
            ...options,
            peer,
            link,
            heartbeat,
            epochs,
            keeper,
            actions,
            draining: () => this.commands.drainRequested(),
          });
    this.commands = new Commands({
      ...options,
      switchover,
      step: () => this.loop.step(),
      wake: () => this.wake.notify(),
    });
    if (link !== null && switchover !== null) this.commands.answerOn(link, switchover);
    this.loop = new SiteLoop({
      ...options,
      tracker: this.tracker,
      heartbeat,
      duty,
      keeper,
      epochs,
      notes,
      drainRequested: () => this.commands.drainRequested(),
      onChange: () => this.changed(),
    });
    this.control = this.commands;
    this.service = { name: 'failover', run: (context) => this.run(context) };
  }

  private makeHeartbeat(peer: SiteName, link: PeerLink): Heartbeat {
    const { options } = this;
    return new Heartbeat({
      ...options,
      peer,
      link,
      compose: () => ({
        state: this.loop.state,
        epoch: this.epochs.current(),
        stale: this.loop.mayBeStale,
        store: {
          id: options.ownStore.id || null,
          condition: options.ownStore.condition(),
          settled: options.ownStore.settled(),
        },
        knowsStore: options.memory.peerStoreId(),
        facts: presentable(options.facts()),
      }),
      onNews: () => {
        if (this.heartbeat?.verdict() === 'lost') this.commands.giveUpOnPeer();
        this.wake.notify();
      },
    });
  }

  private holder(): SiteName | null {
    return this.options.peer === null ? this.options.site : (this.epochs.current()?.site ?? null);
  }

  view(): SiteView {
    return {
      state: this.loop.state,
      epoch: this.epochs.current(),
      holder: this.holder(),
      since: this.loop.since,
      verdict: this.heartbeat?.verdict() ?? 'unknown',
      mayBeStale: this.loop.mayBeStale,
    };
  }

  served(): boolean {
    return this.tracker.hasServed();
  }

  announcedPeerStoreId(): string | null {
    return this.heartbeat?.beat()?.store.id ?? null;
  }

  peerStatus(): PeerStatus | null {
    const { heartbeat } = this;
    if (heartbeat === null) return null;
    return {
      verdict: heartbeat.verdict(),
      url: this.options.peerUrl ?? '',
      rttMs: heartbeat.rttMs(),
      lastHeardMs: heartbeat.heardAgoMs(),
      clockSkewMs: heartbeat.skewMs(),
      version: heartbeat.beat()?.version ?? null,
    };
  }

  filestoreStatus(): StatusDocument['filestore'] {
    return this.keeper.status();
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private changed(): void {
    reportMetrics(this.options.metrics, this.view(), this.peerStatus());
    for (const listener of this.listeners) listener();
  }

  prepare(): Promise<void> {
    this.prepared ??= this.prepareOnce();
    return this.prepared;
  }

  private async prepareOnce(): Promise<void> {
    await this.filestore.prepare();
    const epoch = await this.epochs.load();
    this.options.log.info('failover.start', {
      epoch: epoch === null ? null : formatEpoch(epoch),
      filestore: this.filestore.path,
    });
    await this.loop.assertLink('start');
  }

  private async run(context: ServiceContext): Promise<void> {
    await this.prepare();
    const stop = new AbortController();
    const signal = AbortSignal.any([context.signal, stop.signal]);
    const running = [this.actLoop(signal)];
    if (this.heartbeat !== null) {
      running.push(this.heartbeat.service.run({ ...context, signal, ready: () => undefined }));
    }
    const unwatch = this.options.ownStore.onChange(() => this.wake.notify());
    context.ready();
    try {
      await Promise.race(running);
    } finally {
      unwatch();
      stop.abort();
      if (context.signal.aborted) this.commands.close();
      await Promise.allSettled(running);
    }
  }

  private async actLoop(signal: AbortSignal): Promise<void> {
    const { clock, timers } = this.options;
    while (!signal.aborted) {
      const command = this.commands.next();
      if (command !== null) await command();
      await this.loop.step();
      this.maybeFailBack();
      await this.wake.wait(clock, timers.heartbeatMs, signal);
    }
  }

  private maybeFailBack(): void {
    const { autoFailbackMs, peer, site } = this.options;
    const epoch = this.epochs.current();
    if (autoFailbackMs === null || peer === null || site > peer) return;
    if (this.loop.state !== 'paired' || epoch === null || epoch.site === site) return;
    if (this.tracker.pairedForMs() >= autoFailbackMs) this.commands.failBack(autoFailbackMs);
  }
}

/** What the peer's parser takes, whatever an engine says. */
function presentable(facts: EngineFacts): EngineFacts {
  const { storeHealth, load } = facts;
  return {
    ...facts,
    load: Number.isFinite(load) ? load : 0,
    storeHealth: storeHealth.ok
      ? storeHealth
      : { ok: false, reason: storeHealth.reason.slice(0, 500) },
  };
}

/** Takes of the outside only the link's purpose `heartbeat` and its methods `failover.*`. */
export function createFailover(options: FailoverOptions): Failover {
  return new Manager(options);
}
