/** Looks at the facts at its own pace, feeds the state machine and runs its effects, one at a time. */
import { describeError } from '../core/errors.ts';
import type { Clock, EngineFacts, Log, SiteState } from '../core/ports.ts';
import {
  eventHolds,
  SITE_EVENTS,
  type SiteEffect,
  type SiteEvent,
  type SiteFacts,
  transition,
} from '../core/site-machine.ts';
import type { GuardedStore } from '../core/store-guard.ts';
import type { EpochStore } from './epoch-store.ts';
import type { FactsTracker } from './facts-tracker.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { HolderDuty } from './holder-duty.ts';
import type { LinkKeeper } from './link-keeper.ts';
import type { PeerNotes } from './peer-notes.ts';

/** The link is looked at this often, whatever happens. */
const ASSERT_EVERY_MS = 1_000;

export interface SiteLoopOptions {
  readonly tracker: FactsTracker;
  readonly heartbeat: Heartbeat | null;
  readonly duty: HolderDuty;
  readonly keeper: LinkKeeper;
  readonly epochs: EpochStore;
  readonly notes: PeerNotes;
  readonly ownStore: GuardedStore;
  readonly facts: () => EngineFacts;
  readonly partsUp: () => boolean;
  readonly drainRequested: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly timeText: (wallMs: number) => string;
  readonly onChange: () => void;
}

export class SiteLoop {
  private readonly options: SiteLoopOptions;
  private current: SiteState = 'starting';
  private sinceText: string;
  private stale = false;
  private notedSeq: number | null = null;
  private assertedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: SiteLoopOptions) {
    this.options = options;
    this.sinceText = options.timeText(options.clock.wallMs());
  }

  get state(): SiteState {
    return this.current;
  }
  /** When the state last changed, as text. */
  get since(): string {
    return this.sinceText;
  }
  get mayBeStale(): boolean {
    return this.stale;
  }

  /** One look at everything: each event that holds is handled, in order, with facts taken anew. */
  async step(): Promise<void> {
    await this.noteBeat();
    const engine = this.options.facts();
    for (const event of SITE_EVENTS) {
      const facts = this.facts(engine);
      if (!eventHolds(event, facts)) continue;
      const { to, effects, when } = transition(this.current, event, facts);
      if (to !== this.current) this.enter(to, event, when);
      for (const effect of effects) await this.perform(effect);
    }
    await this.keepUp();
    this.options.onChange();
  }

  async assertLink(reason: string): Promise<void> {
    this.assertedAtMs = this.options.clock.monotonicMs();
    await this.options.keeper.assert(reason);
  }

  private enter(to: SiteState, event: SiteEvent, reason: string | null): void {
    const { log, clock, timeText, tracker, heartbeat } = this.options;
    const from = this.current;
    this.current = to;
    this.sinceText = timeText(clock.wallMs());
    tracker.noteState(from, to);
    log.info('failover.transition', {
      from,
      to,
      event,
      reason: reason ?? event,
      verdict: heartbeat?.verdict() ?? null,
    });
    // Others learn of the state before its effects have run: a failed store must not wait for a flip.
    this.options.onChange();
  }

  private async noteBeat(): Promise<void> {
    const { heartbeat, notes, facts } = this.options;
    const beat = heartbeat?.beat() ?? null;
    if (beat === null || beat.seq === this.notedSeq) return;
    this.notedSeq = beat.seq;
    await notes.note(beat, facts());
  }

  private facts(engine: EngineFacts): SiteFacts {
    const { tracker, heartbeat, duty, ownStore, partsUp, drainRequested } = this.options;
    const beat = heartbeat?.beat() ?? null;
    const theirs = beat?.store.condition;
    return tracker.facts({
      hasPeer: heartbeat !== null,
      partsUp: partsUp(),
      storeUsable: ownStore.health().ok,
      drainRequested: drainRequested(),
      verdict: heartbeat?.verdict() ?? 'unknown',
      silentMs: heartbeat?.silentMs() ?? 0,
      higherEpochMet: duty.higherEpochMet(),
      holdsElsewhere: duty.holdsElsewhere(),
      mayTakeOver: duty.mayTakeOver(),
      peerStoreFailed: theirs === 'failed' || theirs === 'read-only',
      streaming: engine.databaseStreaming && beat?.facts.databaseStreaming === true,
    });
  }

  private async perform(effect: SiteEffect): Promise<void> {
    try {
      await this.run(effect);
    } catch (error) {
      this.options.log.error('failover.effect-failed', { effect, error: describeError(error) });
    }
  }

  private async run(effect: SiteEffect): Promise<void> {
    const { duty, heartbeat, tracker } = this.options;
    switch (effect) {
      case 'take-over':
        return duty.takeOver();
      case 'yield':
        return duty.follow();
      case 'assert-link':
        return this.assertLink(effect);
      case 'keep-link':
        duty.tellWhyNot();
        return;
      case 'announce':
        heartbeat?.announce();
        return;
      case 'serve':
        tracker.serve();
        return;
      case 'mark-stale':
        this.stale = true;
        return;
      case 'clear-stale':
        this.stale = false;
        return;
    }
  }

  /** What needs no event: the link as it should be, the store's copy of the epoch, alarms. */
  private async keepUp(): Promise<void> {
    const { clock, ownStore, epochs, duty } = this.options;
    duty.review();
    if (clock.monotonicMs() - this.assertedAtMs < ASSERT_EVERY_MS) return;
    await this.assertLink('standing');
    if (ownStore.health().ok) await epochs.heal();
  }
}
