/**
 * Whether uploads go to the peer's store too. After one stall they stay local, so that not every
 * deposit pays the degrade deadline, until a probe has written and flushed there.
 */
import { AppError, describeError } from '../../../core/errors.ts';
import type { Service } from '../../../core/service.ts';
import type { DepositContext } from './context.ts';
import { createSemaphore } from './keyed-lock.ts';
import { createWaker } from './waker.ts';
import { PROBE_ANSWER, parseFromPeer, receive, refusalError } from './wire.ts';

const MAX_PROBE_DELAY_MS = 30_000;
const ALARM = 'deposit-peer-stalled';

/** Uploads to the peer at the same time; each takes a connection of the link, which has others to serve. */
const MAX_LEGS = 16;

export interface PeerLegGate {
  /** True when an upload begun now should go to the peer as well. */
  isOpen(): boolean;
  /** A place for one upload's exchange; null when none came free in time. */
  acquire(signal: AbortSignal): Promise<(() => void) | null>;
  /** The peer's store kept us waiting: no more uploads there until a probe passes. */
  trip(reason: string): void;
  readonly service: Service;
}

/** Lets the peer write and flush a few bytes in its store. Throws AppError when it cannot in time. */
async function probe(context: DepositContext, signal: AbortSignal): Promise<void> {
  const { link, degradeAfterMs } = context;
  if (!link) throw new AppError('peer-unreachable', 'This site has no peer.');
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(2 * degradeAfterMs)]);
  const exchange = await link.open(
    'deposit-probe',
    { v: 1 },
    { timeoutMs: degradeAfterMs, signal: deadline },
  );
  const late = () => exchange.abort('the probe took too long');
  deadline.addEventListener('abort', late, { once: true });
  try {
    await exchange.end();
    let passed = false;
    for await (const record of receive(exchange)) {
      if (record.kind !== 'message') continue;
      const answer = parseFromPeer(PROBE_ANSWER, record.value);
      if ('refused' in answer) throw refusalError(answer.refused);
      passed = true;
    }
    if (!passed) throw new AppError('peer-refused', 'The peer ended the probe without an answer.');
  } finally {
    deadline.removeEventListener('abort', late);
    exchange.abort('probe done');
  }
}

export function createPeerLegGate(context: DepositContext): PeerLegGate {
  const { alarms, log, metrics, pace, clock } = context;
  const waker = createWaker(clock);
  let tripped = false;

  const set = (value: boolean) => {
    tripped = value;
    metrics.gauge('deposit_peer_leg_open', 'Whether uploads go to the peer too', value ? 0 : 1);
  };
  const isOpen = () => context.link !== null && !tripped && context.peerAlive();

  const reopen = async (signal: AbortSignal) => {
    for (let delayMs = pace.probeAfterMs; tripped && !signal.aborted; ) {
      await clock.sleep(delayMs, signal);
      if (signal.aborted) return;
      if (!context.peerAlive()) continue;
      try {
        await probe(context, signal);
        set(false);
        alarms.clear(ALARM);
        log.info('deposit.peer-leg-reopened');
      } catch (error) {
        delayMs = Math.min(MAX_PROBE_DELAY_MS, delayMs * 2);
        log.debug('deposit.probe-failed', { error: describeError(error), delayMs });
      }
    }
  };
  const places = createSemaphore(MAX_LEGS);
  return {
    isOpen,
    acquire: (signal) => places.acquire(signal),
    trip(reason) {
      if (tripped) return;
      set(true);
      log.warn('deposit.peer-leg-closed', { reason });
      alarms.raise({
        code: ALARM,
        severity: 'warning',
        text: `The peer's store stalled (${reason}). Deposits are taken here alone until a probe passes.`,
        runbook: 'operations.md#deposit-peer-stalled',
      });
      waker.wake();
    },
    service: {
      name: 'deposit-peer-leg',
      async run({ signal, ready }) {
        set(tripped);
        ready();
        while (!signal.aborted) {
          if (tripped) await reopen(signal);
          else await waker.wait(60_000, signal);
        }
      },
    },
  };
}
