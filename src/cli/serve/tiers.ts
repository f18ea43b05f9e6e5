/**
 * Services in tiers. They start in any order, because each waits for what it needs; they stop tier by
 * tier, and stopped means awaited: what takes requests goes first, the database last.
 */
import type { Clock, Log } from '../../core/ports.ts';
import type { Service } from '../../core/service.ts';
import { supervise } from '../../core/supervise.ts';

export interface Tier {
  readonly name: string;
  /** How long a stop waits for this tier before it goes on to the next. */
  readonly deadlineMs: number;
}

interface RunningTier extends Tier {
  readonly controller: AbortController;
  readonly running: Map<string, Promise<void>>;
}

export interface TiersOptions {
  /** In the order in which they stop. */
  readonly tiers: readonly Tier[];
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

export class Tiers {
  private readonly options: TiersOptions;
  private readonly tiers: readonly RunningTier[];
  private fail: (error: unknown) => void = () => undefined;
  /** Rejects when a service fails for good; never resolves. */
  readonly failure: Promise<never>;

  constructor(options: TiersOptions) {
    this.options = options;
    this.tiers = options.tiers.map((tier) => ({
      ...tier,
      controller: new AbortController(),
      running: new Map(),
    }));
    this.failure = new Promise((_, reject) => {
      this.fail = reject;
    });
    // Awaited by whoever runs the site; before that a failure must not count as unhandled.
    this.failure.catch(() => undefined);
  }

  /** Runs a service until its tier is stopped. */
  start(tierName: string, ...services: readonly Service[]): void {
    const tier = this.tiers.find((candidate) => candidate.name === tierName);
    if (!tier) throw new Error(`no tier ${tierName}`);
    for (const service of services) {
      const { clock, log, random } = this.options;
      const running = supervise(service, { signal: tier.controller.signal, clock, log, random })
        .catch((error: unknown) => this.fail(error))
        .finally(() => tier.running.delete(service.name));
      tier.running.set(service.name, running);
    }
  }

  signal(tierName: string): AbortSignal {
    const tier = this.tiers.find((candidate) => candidate.name === tierName);
    if (!tier) throw new Error(`no tier ${tierName}`);
    return tier.controller.signal;
  }

  /** Stops one tier after the other, each within its deadline; true when all ended in time. */
  async stop(): Promise<boolean> {
    const { clock, log } = this.options;
    let inTime = true;
    for (const tier of this.tiers) {
      tier.controller.abort();
      const waiting = new AbortController();
      const late = clock.sleep(tier.deadlineMs, waiting.signal).then(() => 'late' as const);
      const ended = Promise.all(tier.running.values()).then(() => 'ended' as const);
      if ((await Promise.race([ended, late])) === 'late') {
        inTime = false;
        log.warn('stop.late', { tier: tier.name, services: [...tier.running.keys()] });
      }
      waiting.abort();
    }
    return inTime;
  }
}
