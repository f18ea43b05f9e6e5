/** A planned move of the holder: the new holder persists and flips, then the old one yields and flips. */
import { z } from 'zod';
import { type Epoch, formatEpoch, raisedEpoch } from '../core/epoch.ts';
import { AppError } from '../core/errors.ts';
import type { SiteName } from '../core/ids.ts';
import type { Clock, EngineFacts, PeerLink } from '../core/ports.ts';
import type { GuardedStore } from '../core/store-guard.ts';
import type { EpochStore } from './epoch-store.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { HolderActions } from './holder-actions.ts';
import type { LinkKeeper } from './link-keeper.ts';
import { epochSchema } from './pair-memory.ts';

const DRAIN_WAIT_MS = 10_000;
/** For the other site's part: its own wait, its disk, its link. */
const PEER_TIMEOUT_MS = 20_000;
const POLL_MS = 20;
export const METHOD_TAKE = 'failover.switchover';
export const METHOD_FOLLOW = 'failover.yield';

const body = z.object({ epoch: epochSchema });

export interface SwitchoverOptions {
  readonly site: SiteName;
  readonly peer: SiteName;
  readonly link: PeerLink;
  readonly heartbeat: Heartbeat;
  readonly ownStore: GuardedStore;
  readonly epochs: EpochStore;
  readonly keeper: LinkKeeper;
  readonly actions: HolderActions;
  readonly facts: () => EngineFacts;
  readonly draining: () => boolean;
  readonly clock: Clock;
}

export class Switchover {
  private readonly options: SwitchoverOptions;

  constructor(options: SwitchoverOptions) {
    this.options = options;
  }

  /** Resolves when both links stand. Throws AppError with the reason when it must not or could not be. */
  async run(to: SiteName | null, signal: AbortSignal): Promise<Epoch> {
    const { site, peer, epochs, link, keeper, actions } = this.options;
    const current = epochs.current();
    if (current === null) {
      throw new AppError('not-ready', 'The pair has not met yet, so nobody holds.');
    }
    const target = to ?? (current.site === site ? peer : site);
    if (target !== site && target !== peer) {
      throw new AppError('usage', `There is no site ${target}: the sites are ${site} and ${peer}.`);
    }
    if (target === current.site) {
      await this.mustStand(keeper.assert('switchover'));
      return current;
    }
    await this.settled(target, signal);
    const options = { timeoutMs: PEER_TIMEOUT_MS, signal };
    if (target === site) {
      const epoch = await this.take();
      await link.request(METHOD_FOLLOW, { epoch }, options);
      return epoch;
    }
    const { epoch } = body.parse(await link.request(METHOD_TAKE, { epoch: current }, options));
    await this.mustStand(actions.follow(epoch));
    return epoch;
  }

  /** The peer, which holds, asks this site to hold. Answers when this site's link stands. */
  async answerTake(request: unknown, signal: AbortSignal): Promise<unknown> {
    const { epochs, site } = this.options;
    const asked = body.parse(request).epoch;
    const current = epochs.current();
    if (current !== null && current.site === site && current.number > asked.number) {
      return { epoch: current };
    }
    await this.settled(site, signal);
    return { epoch: await this.take() };
  }

  /** The peer holds now. Answers when this site's link stands. */
  async answerFollow(request: unknown): Promise<unknown> {
    const { epochs, keeper, actions } = this.options;
    const { epoch } = body.parse(request);
    const current = epochs.current();
    if (current !== null && current.number > epoch.number) {
      throw new AppError('conflict', `This site is under epoch ${formatEpoch(current)} already.`);
    }
    const known = current?.number === epoch.number && current.site === epoch.site;
    await this.mustStand(known ? keeper.assert('switchover') : actions.follow(epoch));
    return {};
  }

  private async take(): Promise<Epoch> {
    const { site, epochs, actions, keeper, heartbeat } = this.options;
    const epoch = raisedEpoch(epochs.current(), site);
    await actions.takeOver(epoch, 'planned', {});
    heartbeat.announce();
    await this.mustStand(Promise.resolve(keeper.stands()));
    return epoch;
  }

  private async mustStand(work: Promise<boolean>): Promise<void> {
    if (await work) return;
    throw new AppError(
      'store-failed',
      `The link ${this.options.keeper.status().path} could not be moved; see the alarms.`,
    );
  }

  /** Waits until both sites have what the other had. Throws AppError with what is missing. */
  private async settled(target: SiteName, signal: AbortSignal): Promise<void> {
    const { clock, heartbeat } = this.options;
    const untilMs = clock.monotonicMs() + DRAIN_WAIT_MS;
    const firstSeq = heartbeat.beat()?.seq ?? 0;
    for (;;) {
      const missing = this.obstacle(target, firstSeq);
      if (missing === null) return;
      if (missing.final || signal.aborted || clock.monotonicMs() >= untilMs) throw missing.error;
      await clock.sleep(POLL_MS, signal);
    }
  }

  private obstacle(
    target: SiteName,
    firstSeq: number,
  ): { readonly error: AppError; readonly final: boolean } | null {
    const { site, peer, heartbeat, ownStore, facts, draining } = this.options;
    const beat = heartbeat.beat();
    if (beat === null || heartbeat.verdict() !== 'alive') {
      const text = `No switchover: ${peer} is ${heartbeat.verdict()}.`;
      return { error: new AppError('peer-unreachable', text), final: true };
    }
    const health = ownStore.health();
    if (!health.ok || (beat.store.condition !== 'ok' && beat.store.condition !== 'full')) {
      const whose = health.ok ? `the store of ${peer}` : "this site's store";
      const error = new AppError('store-failed', `No switchover: ${whose} failed.`);
      return { error, final: true };
    }
    // Moving away from a draining site is what draining is for.
    if (target === site ? draining() : beat.state === 'draining') {
      const text = `No switchover: ${target} is draining (twinsite resume).`;
      return { error: new AppError('conflict', text), final: true };
    }
    // Only what was said after the question counts.
    if (beat.seq > firstSeq && beat.facts.filesDrained && facts().filesDrained) return null;
    const behind = beat.facts.filesDrained ? 'this site' : peer;
    const error = new AppError(
      'not-ready',
      `No switchover: ${behind} has not received all files of the other after ${DRAIN_WAIT_MS / 1000} s.`,
    );
    return { error, final: false };
  }
}
