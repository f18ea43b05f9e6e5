/** What an administrator, or the peer on behalf of one, asks of a running site. Run by the loop, one at a time. */
import type { Epoch } from '../core/epoch.ts';
import { AppError, describeError } from '../core/errors.ts';
import type { SiteName } from '../core/ids.ts';
import type { Clock, Log, PeerLink, SiteControl } from '../core/ports.ts';
import { Mailbox } from './mailbox.ts';
import { METHOD_FOLLOW, METHOD_TAKE, type Switchover } from './switchover.ts';

export interface CommandsOptions {
  readonly site: SiteName;
  readonly switchover: Switchover | null;
  /** Runs one step of the loop, so that a command's effect is there when it resolves. */
  readonly step: () => Promise<void>;
  readonly wake: () => void;
  /** Resolves when no request runs. */
  readonly whenIdle: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

export class Commands implements SiteControl {
  private readonly options: CommandsOptions;
  private readonly mailbox: Mailbox;
  private readonly stopped = new AbortController();
  private moving: AbortController | null = null;
  private draining = false;
  private failbackAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: CommandsOptions) {
    this.options = options;
    this.mailbox = new Mailbox(options.wake);
  }

  drainRequested(): boolean {
    return this.draining;
  }

  /** The peer's half of a switchover. */
  answerOn(link: PeerLink, switchover: Switchover): void {
    link.answer(METHOD_TAKE, (body) =>
      this.exclusive((signal) => switchover.answerTake(body, signal)),
    );
    link.answer(METHOD_FOLLOW, (body) => this.exclusive(() => switchover.answerFollow(body)));
  }

  /** The next command for the loop; null when none waits. */
  next(): (() => Promise<void>) | null {
    return this.mailbox.take();
  }

  /** The peer is lost: what waits for it would keep the loop from taking over. */
  giveUpOnPeer(): void {
    this.moving?.abort();
  }

  /** No command is run any more; those that wait are refused. */
  close(): void {
    this.stopped.abort();
    this.moving?.abort();
    this.mailbox.close();
  }

  async switchover(
    to: SiteName | null,
  ): Promise<{ holder: SiteName; epoch: Epoch; tookMs: number }> {
    const { clock, switchover } = this.options;
    const beganMs = clock.monotonicMs();
    if (switchover === null) {
      throw new AppError('conflict', 'This site runs alone: there is no other site to hold.');
    }
    const epoch = await this.exclusive((signal) => switchover.run(to, signal));
    return { holder: epoch.site, epoch, tookMs: Math.round(clock.monotonicMs() - beganMs) };
  }

  async drain(wait: boolean): Promise<void> {
    this.draining = true;
    await this.mailbox.give(this.options.step);
    if (wait) await this.options.whenIdle(this.stopped.signal);
  }

  async resume(): Promise<void> {
    this.draining = false;
    await this.mailbox.give(this.options.step);
  }

  /** Asks for the holder back, at most once in each `everyMs`; the loop runs it as any other command. */
  failBack(everyMs: number): void {
    const { clock, log, site } = this.options;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.failbackAtMs || this.moving !== null) return;
    this.failbackAtMs = nowMs + everyMs;
    log.info('failover.failback', { to: site });
    this.switchover(site).catch((error: unknown) =>
      log.warn('failover.failback-failed', { error: describeError(error) }),
    );
  }

  /** Runs `work` in the loop. A second switchover beside a first would wait for it for ever. */
  private exclusive<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.moving !== null) {
      return Promise.reject(new AppError('conflict', 'A switchover is already running.'));
    }
    const controller = new AbortController();
    this.moving = controller;
    return this.mailbox
      .give(() => work(controller.signal))
      .finally(() => {
        this.moving = null;
      });
  }
}
