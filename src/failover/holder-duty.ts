/** This site's part in who holds: what it met, whether it may take over, and doing so. */
import { compareEpochs, type Epoch } from '../core/epoch.ts';
import { describeError } from '../core/errors.ts';
import { decideTakeOver, firstEpoch, type TakeOverDecision } from '../core/holder.ts';
import type { SiteName } from '../core/ids.ts';
import type { Alarms, Clock, EngineFacts } from '../core/ports.ts';
import type { GuardedStore } from '../core/store-guard.ts';
import type { EpochStore } from './epoch-store.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { HolderActions } from './holder-actions.ts';
import type { LinkKeeper } from './link-keeper.ts';
import type { PeerNotes } from './peer-notes.ts';

/** After a take over that failed. */
const RETRY_AFTER_MS = 1_000;
const ALARM = 'take-over-held';

export interface HolderDutyOptions {
  readonly site: SiteName;
  readonly peer: SiteName | null;
  /** T1: applications are moved by a take over. */
  readonly shared: boolean;
  readonly heartbeat: Heartbeat | null;
  readonly ownStore: GuardedStore;
  readonly epochs: EpochStore;
  readonly keeper: LinkKeeper;
  readonly actions: HolderActions;
  readonly notes: PeerNotes;
  readonly facts: () => EngineFacts;
  readonly clock: Clock;
  readonly alarms: Alarms;
}

export class HolderDuty {
  private readonly options: HolderDutyOptions;
  private retryAtMs = Number.NEGATIVE_INFINITY;
  private lastFailure: string | null = null;

  constructor(options: HolderDutyOptions) {
    this.options = options;
  }

  holdsElsewhere(): boolean {
    const epoch = this.options.epochs.current();
    return epoch !== null && epoch.site !== this.options.site;
  }

  higherEpochMet(): boolean {
    const met = this.metEpoch();
    const epoch = this.options.epochs.current();
    return met !== null && (epoch === null || compareEpochs(met, epoch) > 0);
  }

  /** The epoch that the peer brings; the first one when both never had any. */
  private metEpoch(): Epoch | null {
    const { heartbeat, epochs, site, peer } = this.options;
    const beat = heartbeat?.beat() ?? null;
    if (beat === null || peer === null) return null;
    if (beat.epoch !== null || epochs.current() !== null) return beat.epoch;
    return firstEpoch(site, peer);
  }

  private decision(): TakeOverDecision {
    const { site, peer, heartbeat, ownStore, epochs, keeper, notes, shared } = this.options;
    if (peer === null) return { may: false, reason: 'there is no peer', tell: false };
    if (heartbeat?.refused() === true) {
      return { may: false, reason: `${peer} lives and refuses this process`, tell: true };
    }
    return decideTakeOver({
      self: site,
      peer,
      epoch: epochs.current(),
      shared,
      ownStoreUsable: ownStore.health().ok,
      peerMountUsable: keeper.peerMountUsable(),
      equalUnder: notes.equalUnder(),
    });
  }

  mayTakeOver(): boolean {
    return this.retryAtMs <= this.options.clock.monotonicMs() && this.decision().may;
  }

  /** Takes over when that is still right. Throws AppError when a step failed; the next try waits a second. */
  async takeOver(): Promise<void> {
    const { clock, facts, heartbeat, actions } = this.options;
    const decision = this.decision();
    if (!decision.may) return;
    const own = facts();
    const last = heartbeat?.beat()?.facts ?? null;
    try {
      await actions.takeOver(decision.epoch, decision.because, {
        ownSeq: own.fileSeq,
        peerSeq: last?.fileSeq ?? null,
        drained: own.filesDrained && last?.filesDrained === true,
        rootsEqual: last !== null && own.fileRoot === last.fileRoot,
      });
    } catch (error) {
      this.retryAtMs = clock.monotonicMs() + RETRY_AFTER_MS;
      this.lastFailure = describeError(error);
      throw error;
    }
  }

  /** Goes under the epoch that the peer brings: flips first, merging goes on by itself. */
  async follow(): Promise<void> {
    const met = this.metEpoch();
    if (met !== null) await this.options.actions.follow(met);
  }

  /** The link stays with a site that is away: an administrator should know why. */
  tellWhyNot(): void {
    const decision = this.decision();
    const text = decision.may ? this.lastFailure : decision.tell ? decision.reason : null;
    if (text === null) return;
    this.options.alarms.raise({
      code: ALARM,
      severity: 'critical',
      text: `This site does not take over from ${this.options.peer ?? 'its peer'}: ${text}`,
      runbook: `operations.md#${ALARM}`,
    });
  }

  /** Clears the alarm when there is nothing to take over any more. */
  review(): void {
    if (this.holdsElsewhere() && this.options.heartbeat?.verdict() !== 'alive') return;
    this.options.alarms.clear(ALARM);
  }
}
