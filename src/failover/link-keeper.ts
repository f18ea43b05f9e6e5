/** Keeps the filestore link where it belongs, whatever changes: holder, stores, or somebody's hand. */
import { describeError } from '../core/errors.ts';
import { decideLink, type LinkDecision, type LinkNames } from '../core/holder.ts';
import type { SiteName } from '../core/ids.ts';
import type { Alarms, Clock, Log, Metrics } from '../core/ports.ts';
import type { StatusDocument } from '../core/status.ts';
import {
  type GuardedStore,
  isUsable,
  type StoreCheck,
  type StoreProbe,
} from '../core/store-guard.ts';
import type { FilestoreLink } from './filestore-link.ts';

export interface LinkKeeperOptions {
  readonly site: SiteName;
  readonly peer: SiteName | null;
  readonly link: FilestoreLink;
  readonly ownStore: GuardedStore;
  readonly peerStore: StoreProbe | null;
  readonly holder: () => SiteName | null;
  readonly lostAfterMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly metrics: Metrics;
}

const ALARM = 'filestore';

export class LinkKeeper {
  private readonly options: LinkKeeperOptions;
  private peerFailedSinceMs: number | null = null;
  private target: string | null = null;
  private standing = false;

  constructor(options: LinkKeeperOptions) {
    this.options = options;
  }

  /** What the link named when it was last looked at. */
  status(): StatusDocument['filestore'] {
    const { link, ownStore, peerStore } = this.options;
    const store =
      this.target === null
        ? null
        : this.target === ownStore.root
          ? ownStore.id || null
          : this.target === peerStore?.root
            ? (peerStore.last()?.storeId ?? null)
            : null;
    return { path: link.path, target: this.target, store };
  }

  /** True when the link named a store that was healthy when it was last looked at. */
  stands(): boolean {
    return this.standing;
  }

  peerMountUsable(): boolean {
    return isUsable(this.options.peerStore?.last() ?? null);
  }

  /**
   * Puts the link where it belongs. Resolves true when it names the store that it should. Errors of
   * the link itself become an alarm: the next round tries again.
   */
  async assert(reason: string): Promise<boolean> {
    try {
      const done = await this.tryAssert(reason);
      this.standing = done === null;
      if (done === null) this.options.alarms.clear(ALARM);
      else this.tell(done);
      return this.standing;
    } catch (error) {
      this.standing = false;
      this.tell(describeError(error));
      return false;
    }
  }

  /** Null when the link stands where it belongs, else why it does not. */
  private async tryAssert(reason: string): Promise<string | null> {
    const { site, holder, link, ownStore, peerStore } = this.options;
    const state = await link.inspect();
    this.target = state.kind === 'link' ? state.target : null;
    // What the last round saw of the mount is good enough for a link that stands, not for a move. A
    // site that holds does not ask: the mount of a dead peer may take its whole deadline.
    const ownWillDo = holder() === site && ownStore.health().ok;
    if (reason !== 'standing' && !ownWillDo) await peerStore?.check();
    const decision = this.decide(this.names());
    const probe =
      decision.target === 'stay' ? null : decision.target === 'own' ? ownStore.probe : peerStore;
    if (probe !== null && probe.root !== this.target) {
      const check = await probe.check();
      if (!isUsable(check)) {
        return `${link.path} cannot be pointed at ${check.root}: it ${check.reason ?? 'failed'}`;
      }
      await this.flip(check, reason, decision.because);
    }
    return decision.wanting ? `${link.path} names ${this.target}: ${decision.because}` : null;
  }

  private async flip(check: StoreCheck, reason: string, because: string): Promise<void> {
    const { link, log, metrics } = this.options;
    const { before } = await link.point(check);
    this.target = check.root;
    metrics.count('filestore_flips_total', 'Changes of the filestore link.');
    log.info('filestore.flipped', {
      link: link.path,
      from: before,
      to: check.root,
      reason,
      because,
    });
  }

  private names(): LinkNames {
    if (this.target === null) return 'missing';
    if (this.target === this.options.ownStore.root) return 'own';
    return this.target === this.options.peerStore?.root ? 'peer' : 'other';
  }

  private decide(linkNames: LinkNames): LinkDecision {
    const { site, peer, ownStore, peerStore, holder, clock, lostAfterMs } = this.options;
    const nowMs = clock.monotonicMs();
    const usable = this.peerMountUsable();
    if (usable) this.peerFailedSinceMs = null;
    else this.peerFailedSinceMs ??= nowMs;
    return decideLink({
      self: site,
      peer,
      holder: holder(),
      shared: peerStore !== null,
      ownStoreUsable: ownStore.health().ok,
      peerMountUsable: usable,
      peerMountFailedMs: this.peerFailedSinceMs === null ? 0 : nowMs - this.peerFailedSinceMs,
      lostAfterMs,
      linkNames,
    });
  }

  private tell(text: string): void {
    this.options.alarms.raise({
      code: ALARM,
      severity: 'critical',
      text,
      runbook: 'operations.md#filestore',
    });
  }
}
