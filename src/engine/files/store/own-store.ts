/** This site's own store: found, believed, held open, and found again when it was away. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { Alarms, Clock, Log, StoreHealth } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { StoreStatus } from '../../../core/status.ts';
import type {
  GuardedStore,
  StoreCheck,
  StoreCondition,
  StoreMarker,
  StoreProbe,
} from '../../../core/store-guard.ts';
import { type HeldRoot, holdRoot } from './held-root.ts';
import { writeMarker } from './init-store.ts';
import { type HeldLock, takeLock } from './lock.ts';
import { newMarker, thisHost } from './marker.ts';
import { judgeOwnStore, type OwnStoreVerdict, type RememberedStore } from './own-store-rules.ts';
import { createStoreProbe, type StoreJudgement } from './probe.ts';
import type { StoreLook } from './probe-protocol.ts';
import { SameStore } from './same-store.ts';
import { recallStore, rememberStore, storeMemoryPath } from './store-memory.ts';

export interface OwnStoreOptions {
  readonly root: string;
  readonly dataDir: string;
  readonly identity: { readonly pairId: string; readonly site: string } | null;
  /** This site's name when it runs without an identity. */
  readonly site?: string;
  /** The id of this site's store that the peer remembers; null: none; undefined: not asked yet. */
  readonly peerKnowsStoreId: () => string | null | undefined;
  /** The id that the peer announces for its own store; equal ids are refused. */
  readonly peerStoreId?: () => string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly deadlineMs?: number;
  /** argv of the probe child; for tests. */
  readonly probeCommand?: readonly [string, ...string[]];
}

const ALARM_CODES = ['store-unmarked', 'store-foreign', 'store-failed'] as const;

class OwnedStore implements GuardedStore {
  readonly root: string;
  readonly probe: StoreProbe;
  readonly service: Service;
  private readonly options: OwnStoreOptions;
  private readonly host: string;
  private remembered: RememberedStore | null;
  private marker: StoreMarker | null = null;
  private held: HeldRoot | null = null;
  private lock: HeldLock | null = null;
  private latest: StoreCheck | null = null;
  private refusedCode: 'store-unmarked' | 'store-foreign' | null = null;
  private doubtReason: string | null = null;
  private doubtAtMs = 0;
  private lockedOut: AppError | null = null;
  private readonly same: SameStore;
  private readonly listeners = new Set<() => void>();
  private told = '';

  constructor(options: OwnStoreOptions, host: string, remembered: RememberedStore | null) {
    this.options = options;
    this.root = options.root;
    this.host = host;
    this.remembered = remembered;
    this.probe = createStoreProbe({
      root: options.root,
      role: 'own',
      judge: (look) => this.judge(look),
      onCheck: (check) => this.take(check),
      clock: options.clock,
      log: options.log,
      ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
      ...(options.probeCommand === undefined ? {} : { command: options.probeCommand }),
    });
    this.same = new SameStore({
      root: options.root,
      deadlineMs: options.deadlineMs ?? 2_000,
      clock: options.clock,
      checked: () =>
        this.held === null || this.marker === null
          ? this.why()
          : { ...this.held, storeId: this.marker.storeId },
      onDifference: (reason) => this.doubt(reason),
    });
    this.service = {
      name: 'own-store',
      run: async (context) => {
        try {
          await this.probe.service.run(context);
        } finally {
          await this.close();
        }
      },
    };
  }

  get id(): string {
    return this.marker?.storeId ?? this.remembered?.storeId ?? '';
  }

  get generation(): string {
    return this.marker?.generation ?? '';
  }

  at(relative: string): string {
    if (this.held === null) {
      throw new AppError('store-failed', `The store ${this.root} is not available: ${this.why()}.`);
    }
    return this.held.at(relative);
  }

  condition(): StoreCondition {
    if (this.doubtReason !== null || this.held === null) return 'failed';
    return this.latest?.condition ?? 'failed';
  }

  readable(): boolean {
    return this.held !== null && this.latest !== null && this.latest.condition !== 'failed';
  }

  /** Why another process's lock kept this one out at the last attempt; null when none did. */
  heldElsewhere(): AppError | null {
    return this.held === null ? this.lockedOut : null;
  }

  settled(): boolean {
    return this.remembered?.settled === true;
  }

  health(): StoreHealth {
    const condition = this.condition();
    return condition === 'ok' || condition === 'full'
      ? { ok: true }
      : { ok: false, reason: this.why() };
  }

  private why(): string {
    return this.doubtReason ?? this.latest?.reason ?? 'it was not probed yet';
  }

  status(): StoreStatus {
    const condition = this.condition();
    return {
      path: this.root,
      id: this.id === '' ? null : this.id,
      health: condition === 'ok' || condition === 'full' ? 'ok' : 'failed',
      reason: condition === 'ok' ? null : this.why(),
      freeBytes: this.latest?.freeBytes ?? 0,
      totalBytes: this.latest?.totalBytes ?? 0,
    };
  }

  doubt(reason: string): void {
    this.doubtReason = reason;
    this.doubtAtMs = this.options.clock.monotonicMs();
    this.tell();
    // The next probe decides, not one that runs already.
    void this.probe.check();
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  assertSame(): Promise<void> {
    return this.same.assert();
  }

  place(): { device: string; inode: string; id: string } | null {
    const { held } = this;
    return held === null ? null : { device: held.device, inode: held.inode, id: this.id };
  }

  private async judge(look: StoreLook): Promise<StoreJudgement> {
    const { options } = this;
    const facts = {
      root: this.root,
      look,
      remembered: this.remembered,
      rememberedWhere: storeMemoryPath(options.dataDir),
      identity: options.identity,
      peerKnows: options.identity === null ? null : options.peerKnowsStoreId(),
      peerStoreId: options.peerStoreId?.() ?? null,
      host: this.host,
    };
    const verdict = judgeOwnStore(facts);
    try {
      if (verdict.verdict === 'refused') return this.refuse(verdict);
      if (verdict.verdict === 'create') return await this.create(look);
      return await this.adopt(verdict, look);
    } catch (error) {
      this.letGo();
      if (error instanceof AppError) {
        if (error.code === 'data-locked') this.lockedOut = error;
        return { ok: false, reason: `cannot be opened: ${error.message}` };
      }
      return { ok: false, reason: `cannot be opened: ${describeError(error)}` };
    }
  }

  private refuse(verdict: OwnStoreVerdict & { verdict: 'refused' }): StoreJudgement {
    this.refusedCode = verdict.code;
    this.letGo();
    return { ok: false, reason: verdict.reason };
  }

  private async create(look: StoreLook): Promise<StoreJudgement> {
    const { options } = this;
    const held = holdRoot(this.root);
    if (held.device !== look.device || held.inode !== look.inode) {
      held.revoke();
      return { ok: false, reason: 'changed while it was looked at' };
    }
    try {
      const marker = newMarker({
        pair: options.identity?.pairId ?? null,
        site: options.identity?.site ?? options.site ?? 'alone',
        host: this.host,
        wallMs: options.clock.wallMs(),
      });
      // The marker first: a crash between the two leaves a store that names this site, and is taken.
      await writeMarker(held.at(''), marker);
      options.log.info('store.created', { root: this.root, storeId: marker.storeId });
      return await this.adopt(
        {
          verdict: 'ours',
          marker,
          remember: {
            storeId: marker.storeId,
            origin: 'self',
            settled: options.identity === null || options.peerKnowsStoreId() === null,
          },
          bind: false,
        },
        look,
      );
    } finally {
      held.revoke();
    }
  }

  private async adopt(
    verdict: OwnStoreVerdict & { verdict: 'ours' },
    look: StoreLook,
  ): Promise<StoreJudgement> {
    const { held } = this;
    if (held !== null && (held.device !== look.device || held.inode !== look.inode)) this.letGo();
    if (this.held === null) this.open(look, verdict.marker.storeId);
    this.marker = verdict.marker;
    if (verdict.bind && this.held !== null) {
      const { identity, site } = this.options;
      const bound: StoreMarker = {
        ...verdict.marker,
        pair: identity?.pairId ?? verdict.marker.pair,
        site: identity?.site ?? verdict.marker.site ?? site ?? 'alone',
        host: this.host,
      };
      await writeMarker(this.held.at(''), bound);
      this.marker = bound;
    }
    const { remember } = verdict;
    const known = this.remembered;
    if (known?.storeId !== remember.storeId || known.settled !== remember.settled) {
      await rememberStore(this.options.dataDir, remember);
      this.remembered = remember;
    }
    this.refusedCode = null;
    return { ok: true, storeId: verdict.marker.storeId };
  }

  private open(look: StoreLook, storeId: string): void {
    const held = holdRoot(this.root);
    if (held.device !== look.device || held.inode !== look.inode) {
      held.revoke();
      throw new Error('it changed while it was looked at');
    }
    try {
      this.lock = takeLock(held.at('.twinsite/lock'), `The store ${this.root}`);
    } catch (error) {
      const readOnly = systemCode((error as Error).cause) === 'EROFS';
      if (!readOnly) {
        held.revoke();
        throw error;
      }
      // A store that came back read-only can be read; nobody writes to it, so nobody need be kept out.
      this.lock = null;
    }
    this.held = held;
    this.options.log.info('store.opened', { root: this.root, storeId });
  }

  private letGo(): void {
    this.held?.revoke();
    this.held = null;
    this.lock?.release();
    this.lock = null;
  }

  private take(check: StoreCheck): void {
    this.latest = check;
    if (check.atMs >= this.doubtAtMs) this.doubtReason = null;
    this.tell();
  }

  private tell(): void {
    const { alarms, log } = this.options;
    const condition = this.condition();
    const now = `${condition} ${condition === 'ok' ? '' : this.why()}`;
    if (now === this.told) return;
    this.told = now;
    const code = condition === 'failed' ? (this.refusedCode ?? 'store-failed') : 'store-failed';
    for (const other of ALARM_CODES) if (condition === 'ok' || other !== code) alarms.clear(other);
    if (condition === 'ok') log.info('store.healthy', { root: this.root, storeId: this.id });
    else {
      alarms.clear(code);
      alarms.raise({
        code,
        severity: condition === 'full' ? 'warning' : 'critical',
        text: `The store ${this.root} ${this.why()}`,
        runbook: `operations.md#${code}`,
      });
    }
    for (const listener of this.listeners) listener();
  }

  async close(): Promise<void> {
    await this.probe.close();
    this.letGo();
  }
}

/** A path that can never become a store is told at once, while nothing is known of a store. */
function checkPath(root: string): void {
  try {
    if (statSync(root).isDirectory()) return;
    throw new AppError('config', `--store ${root} is no directory.`);
  } catch (error) {
    if (error instanceof AppError) throw error;
    const code = systemCode(error);
    throw new AppError(
      code === 'EACCES' ? 'no-permission' : 'config',
      code === 'ENOENT'
        ? `--store ${root} does not exist: make the directory, mount it, or correct the path.`
        : `--store ${root} cannot be used: ${describeError(error)}.`,
      { cause: error },
    );
  }
}

/**
 * Opens this site's store. A store that is missing, unmarked, foreign or broken does not throw: the
 * site lives in state `failed` and the store is opened when the right one is back. Throws AppError
 * `data-locked` when another process has it, `config`/`no-permission` when the path never was a store
 * and cannot be one. The caller runs `service` and calls `close`.
 */
export async function openOwnStore(options: OwnStoreOptions): Promise<GuardedStore> {
  const root = path.resolve(options.root);
  const remembered = await recallStore(options.dataDir);
  if (remembered === null) checkPath(root);
  const store = new OwnedStore({ ...options, root }, await thisHost(), remembered);
  await store.probe.check();
  const locked = store.heldElsewhere();
  if (locked === null) return store;
  await store.close();
  throw locked;
}
