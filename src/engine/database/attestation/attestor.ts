/** The origin's side of attestation: asks the peer, records its word, and raises what came late. */
import { ATTEST_BATCH } from '../../../core/attestation.ts';
import { describeError } from '../../../core/errors.ts';
import type { PairIdentity } from '../../../core/identity.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Attestor, Clock, Log, Metrics, PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { DatabaseCatalogue } from '../catalogue/catalogue.ts';
import { within } from '../catalogue/database-error.ts';
import type { DatabasePools } from '../connections.ts';
import { createEvidence } from './evidence.ts';
import { createAsker, type PeerAnswer } from './peer-word.ts';
import { createRaiser } from './raiser.ts';
import { recordAttested } from './record.ts';

const REQUESTS_IN_FLIGHT = 2;
const ASK_AGAIN_MS = 5;
const AFTER_FAILURE_MS = 100;
const RECORD_WITHIN_MS = 10_000;
/** Of the time left, what the peer may use for waiting; the rest is for the way and the disk. */
const PEER_SHARE = 0.85;
const FRESH_MS = 1_500;

export interface AttestorOptions {
  readonly pools: Pick<DatabasePools, 'service'>;
  readonly catalogue: Pick<DatabaseCatalogue, 'records' | 'recent' | 'touched'>;
  readonly link: PeerLink;
  readonly identity: PairIdentity;
  /** This site's own store; null while it is not known. */
  readonly ownStoreId: () => string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** A peer silent for longer is taken as not answering; 1.5 s unless told. */
  readonly freshMs?: number;
}

interface Waiting {
  readonly id: DepositId;
  readonly deadlineMs: number;
  readonly settled: AbortController;
  readonly settle: (attested: boolean) => void;
}

/** What was proved is written: late ones with their event. */
export type Recorder = (answer: PeerAnswer, isInTime: (id: DepositId) => boolean) => Promise<void>;

function createRecorder(options: AttestorOptions): Recorder {
  const { pools, catalogue, identity, clock, metrics } = options;
  return async ({ word, received }, isInTime) => {
    if (word === null || word.attested.length === 0) return;
    const marks = new Map(received.map((each) => [each.id, each.event]));
    const late = word.attested.filter((id) => !isInTime(id));
    const recording = recordAttested(pools.service, {
      ...word,
      site: identity.site,
      inTime: word.attested.filter(isInTime),
      late: late.map((id) => ({ id, received: marks.get(id) ?? null })),
    });
    const raised = await within(recording, clock, RECORD_WITHIN_MS, 'record attestations');
    if (raised > 0) catalogue.touched('deposit');
    const help = 'Deposits that the peer attested.';
    const inTime = word.attested.length - late.length;
    metrics.count('attested_total', help, { when: 'in-time' }, inTime);
    metrics.count('attested_total', help, { when: 'late' }, late.length);
  };
}

/**
 * The attestor of one pair. `attest` works at once; the service raises what stayed open, and finds out
 * again whether the peer answers. Throws `identity-invalid`.
 */
export function createAttestor(options: AttestorOptions): Attestor & { readonly service: Service } {
  const { link, clock, log } = options;
  const freshMs = options.freshMs ?? FRESH_MS;
  const asker = createAsker(options);
  const record = createRecorder(options);
  const evidence = createEvidence({
    monotonicMs: () => clock.monotonicMs(),
    lastHeardMs: () => link.lastHeardMs(),
    freshMs,
  });
  const queue: Waiting[] = [];
  const asked = new Map<DepositId, number>();
  let inFlight = 0;

  const isWaiting = (each: Waiting) => !each.settled.signal.aborted;
  const leftMs = (each: Waiting) => each.deadlineMs - clock.monotonicMs();

  /** Asks once. The waiters that are neither attested nor refused for good are to be asked for again. */
  const askOnce = async (batch: readonly Waiting[]): Promise<void> => {
    const digests = await asker.digests(batch.map((each) => each.id));
    for (const each of batch) if (!digests.has(each.id)) each.settle(false);
    const waiting = batch.filter(isWaiting);
    const left = waiting.map(leftMs);
    if (digests.size === 0 || waiting.length === 0) return;
    const answer = await asker.ask(digests, {
      waitMs: Math.max(0, Math.floor(Math.min(...left) * PEER_SHARE)),
      timeoutMs: Math.max(1, Math.ceil(Math.max(...left))),
    });
    evidence.answered();
    // Whether it is in time is decided here, once: the mark and the event go into one transaction.
    // A deadline that passes while this is written is answered `local` and stands as attested.
    const inTime = new Set(batch.filter(isWaiting).map((each) => each.id));
    await record(answer, (id) => inTime.has(id));
    const attested = new Set(answer.word?.attested ?? []);
    if (attested.size > 0) evidence.attested();
    const differing = new Set(
      answer.refused.filter((each) => each.reason === 'rows-differ').map((each) => each.id),
    );
    for (const each of batch) {
      if (attested.has(each.id)) each.settle(true);
      else if (differing.has(each.id)) each.settle(false);
    }
  };

  const ask = async (batch: readonly Waiting[]): Promise<void> => {
    let pauseMs = ASK_AGAIN_MS;
    try {
      await askOnce(batch);
    } catch (error) {
      evidence.failed();
      pauseMs = AFTER_FAILURE_MS;
      log.debug('attestation.failed', { error: describeError(error), deposits: batch.length });
    }
    const again = batch.filter(isWaiting);
    if (again.length === 0) return;
    await clock.sleep(pauseMs);
    queue.push(...again.filter(isWaiting));
  };

  const pump = () => {
    while (inFlight < REQUESTS_IN_FLIGHT && queue.length > 0) {
      const batch = queue.splice(0, ATTEST_BATCH).filter(isWaiting);
      if (batch.length === 0) continue;
      inFlight += 1;
      void ask(batch).finally(() => {
        inFlight -= 1;
        pump();
      });
    }
  };

  const raiser = createRaiser({
    ...options,
    asker,
    record,
    evidence,
    freshMs,
    isAskedFor: (id) => asked.has(id),
  });

  return {
    attest(id, timeoutMs) {
      const started = clock.monotonicMs();
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const settled = new AbortController();
      const settle = (attested: boolean) => {
        if (settled.signal.aborted) return;
        settled.abort();
        const others = (asked.get(id) ?? 1) - 1;
        if (others === 0) asked.delete(id);
        else asked.set(id, others);
        if (!attested) raiser.gaveUp(id);
        const seconds = (clock.monotonicMs() - started) / 1000;
        const help = 'Time until the peer attested a deposit, or until the wait ended.';
        options.metrics.observe('attest_seconds', help, seconds, { attested: String(attested) });
        resolve(attested);
      };
      asked.set(id, (asked.get(id) ?? 0) + 1);
      queue.push({ id, deadlineMs: started + timeoutMs, settled, settle });
      void clock.sleep(timeoutMs, settled.signal).then(() => {
        if (settled.signal.aborted) return;
        evidence.late();
        settle(false);
      });
      pump();
      return promise;
    },
    isAnswering: () => evidence.isAnswering(),
    service: raiser.service,
  };
}
