/**
 * The lanes this site dialed. An opener gets an idle one, or waits for one that is being dialed or
 * given back. Bulk transfers may not take them all: a heartbeat or an attestation always finds room.
 */
import { AppError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';
import type { Lane } from './lane.ts';
import {
  DIAL_BACKOFF_MS,
  IDLE_LANE_MS,
  MAX_BULK_LANES,
  MAX_CONCURRENT_DIALS,
  MAX_DIALED_LANES,
  MAX_IDLE_LANES,
  MAX_WAITING_OPENERS,
} from './limits.ts';

interface Waiter {
  readonly bulk: boolean;
  readonly take: (lane: Lane) => void;
  readonly fail: (error: AppError) => void;
}

export interface LanePoolOptions {
  readonly clock: Clock;
  /** Rejects with AppError. */
  readonly dial: () => Promise<Lane>;
}

export class LanePool {
  readonly #options: LanePoolOptions;
  readonly #idle: Lane[] = [];
  /** Lanes in use, and whether for a bulk transfer. */
  readonly #busy = new Map<Lane, boolean>();
  readonly #waiters = new Set<Waiter>();
  #dials = 0;
  #backoff: { readonly untilMs: number; readonly error: AppError } | null = null;
  #stopped: AppError | null = null;

  constructor(options: LanePoolOptions) {
    this.#options = options;
  }

  get counts(): { readonly idle: number; readonly busy: number; readonly waiting: number } {
    return { idle: this.#idle.length, busy: this.#busy.size, waiting: this.#waiters.size };
  }

  /** A lane of one's own; give it back with `release`, or destroy it. Rejects with AppError. */
  async acquire(bulk: boolean, signal: AbortSignal): Promise<Lane> {
    if (this.#stopped) throw this.#stopped;
    if (signal.aborted) throw signal.reason;
    if (this.#mayTake(bulk)) {
      const lane = this.#popIdle();
      if (lane) return this.#hand(lane, bulk);
    }
    const { clock } = this.#options;
    if (this.#backoff && clock.monotonicMs() < this.#backoff.untilMs) throw this.#backoff.error;
    if (this.#waiters.size >= MAX_WAITING_OPENERS)
      throw new AppError('peer-unreachable', 'Too many wait for a connection with the peer.');
    return await this.#wait(bulk, signal);
  }

  #wait(bulk: boolean, signal: AbortSignal): Promise<Lane> {
    return new Promise<Lane>((resolve, reject) => {
      const leave = () => {
        this.#waiters.delete(waiter);
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        leave();
        reject(signal.reason as Error);
      };
      const waiter: Waiter = {
        bulk,
        take: (lane) => {
          leave();
          resolve(this.#hand(lane, bulk));
        },
        fail: (error) => {
          leave();
          reject(error);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
      this.#pump();
    });
  }

  #mayTake(bulk: boolean): boolean {
    if (!bulk) return true;
    let taken = 0;
    for (const isBulk of this.#busy.values()) if (isBulk) taken += 1;
    return taken < MAX_BULK_LANES;
  }

  /** The one used last: the others may then grow old and be closed. */
  #popIdle(): Lane | null {
    for (;;) {
      const lane = this.#idle.pop();
      if (!lane || lane.isOpen) return lane ?? null;
    }
  }

  #hand(lane: Lane, bulk: boolean): Lane {
    this.#busy.set(lane, bulk);
    return lane;
  }

  /** Waiters who may have a lane now, control first, each kind in order of arrival. */
  #eligible(): Waiter[] {
    const all = [...this.#waiters];
    const control = all.filter((waiter) => !waiter.bulk);
    return this.#mayTake(true) ? [...control, ...all.filter((waiter) => waiter.bulk)] : control;
  }

  #pump(): void {
    while (this.#waiters.size > 0) {
      const waiter = this.#eligible()[0];
      const lane = waiter ? this.#popIdle() : null;
      if (!waiter || !lane) break;
      waiter.take(lane);
    }
    const wanted = this.#eligible().length;
    while (
      !this.#stopped &&
      this.#dials < Math.min(wanted, MAX_CONCURRENT_DIALS) &&
      this.#dials + this.#busy.size + this.#idle.length < MAX_DIALED_LANES
    )
      void this.#dialOne();
  }

  async #dialOne(): Promise<void> {
    this.#dials += 1;
    try {
      const lane = await this.#options.dial();
      this.#dials -= 1;
      this.#backoff = null;
      this.release(lane);
    } catch (error) {
      this.#dials -= 1;
      this.#dialFailed(error as AppError);
    }
  }

  #dialFailed(error: AppError): void {
    const untilMs = this.#options.clock.monotonicMs() + DIAL_BACKOFF_MS;
    this.#backoff = { untilMs, error };
    // Another dial that is under way may still serve the rest.
    for (const waiter of [...this.#waiters].slice(0, this.#dials > 0 ? 1 : undefined))
      waiter.fail(error);
  }

  /** Gives a lane back after a clean exchange. */
  release(lane: Lane): void {
    this.#busy.delete(lane);
    if (this.#stopped) lane.destroy(this.#stopped.message);
    if (lane.isOpen) {
      lane.idleSinceMs = this.#options.clock.monotonicMs();
      this.#idle.push(lane);
      if (this.#waiters.size === 0 && this.#idle.length > MAX_IDLE_LANES)
        this.#idle.shift()?.destroy('not needed');
    }
    this.#pump();
  }

  /** A lane broke; its place is free. */
  forget(lane: Lane): void {
    this.#busy.delete(lane);
    const index = this.#idle.indexOf(lane);
    if (index >= 0) this.#idle.splice(index, 1);
    if (this.#waiters.size > 0) this.#pump();
  }

  /** Idle lanes are in doubt: the next opener dials anew. */
  discardIdle(reason: string): void {
    for (const lane of this.#idle.splice(0)) lane.destroy(reason);
  }

  /** Closes lanes that nobody needed for a while. */
  tick(): void {
    const oldest = this.#options.clock.monotonicMs() - IDLE_LANE_MS;
    for (const lane of this.#idle.filter((idle) => idle.idleSinceMs < oldest))
      lane.destroy('not needed');
  }

  /** Nobody gets a lane any more; the lanes themselves are the owner's to destroy. */
  stop(error: AppError): void {
    this.#stopped = error;
    for (const waiter of [...this.#waiters]) waiter.fail(error);
  }
}
