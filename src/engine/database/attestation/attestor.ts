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
import { createEvidence, type Evidence } from './evidence.ts';
import { type Asker, createAsker, type PeerAnswer } from './peer-word.ts';
import { createRaiser } from './raiser.ts';
import { recordAttested } from './record.ts';

/** Few, so that what comes meanwhile shares a request: that was faster than many, measured. */
const REQUESTS_AT_ONCE = 2;
/** One that takes longer waits for something of its own, and holds up no other. */
const QUICK_MS = 25;
const REQUESTS_IN_FLIGHT = 32;
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

interface Asking {
  readonly asker: Asker;
  readonly record: Recorder;
  readonly evidence: Evidence;
  readonly clock: Clock;
  readonly log: Log;
}

const isWaiting = (each: Waiting) => !each.settled.signal.aborted;

/** Asks for a batch once; settles what is attested or refused for good, and leaves the rest waiting. */
async function askOnce(batch: readonly Waiting[], asking: Asking): Promise<void> {
  const { asker, record, evidence, clock } = asking;
  const digests = await asker.digests(batch.map((each) => each.id));
  for (const each of batch) if (!digests.has(each.id)) each.settle(false);
  const left = batch.filter(isWaiting).map((each) => each.deadlineMs - clock.monotonicMs());
  if (digests.size === 0 || left.length === 0) return;
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
}

/** Takes deposits to ask for: at once when nothing is under way, together with others otherwise. */
function createQueue(asking: Asking): (one: Waiting) => void {
  const queue: Waiting[] = [];
  let inFlight = 0;
  /** Of those, the ones that may still be answered soon. */
  let quick = 0;

  const ask = async (batch: readonly Waiting[]): Promise<void> => {
    let pauseMs = ASK_AGAIN_MS;
    try {
      await askOnce(batch, asking);
    } catch (error) {
      asking.evidence.failed();
      pauseMs = AFTER_FAILURE_MS;
      const told = { error: describeError(error), deposits: batch.length };
      asking.log.debug('attestation.failed', told);
    }
    if (!batch.some(isWaiting)) return;
    void asking.clock.sleep(pauseMs).then(() => {
      queue.push(...batch.filter(isWaiting));
      pump();
    });
  };

  const start = (batch: readonly Waiting[]) => {
    inFlight += 1;
    quick += 1;
    const done = new AbortController();
    void asking.clock.sleep(QUICK_MS, done.signal).then(() => {
      quick -= 1;
      pump();
    });
    void ask(batch).finally(() => {
      inFlight -= 1;
      done.abort();
    });
  };
  const pump = () => {
    while (quick < REQUESTS_AT_ONCE && inFlight < REQUESTS_IN_FLIGHT && queue.length > 0) {
      const batch = queue.splice(0, ATTEST_BATCH).filter(isWaiting);
      if (batch.length > 0) start(batch);
    }
  };
  return (one) => {
    queue.push(one);
    pump();
  };
}

/**
 * The attestor of one pair. `attest` works at once; the service raises what stayed open, and finds out
 * again whether the peer answers. Throws `identity-invalid`.
 */
export function createAttestor(options: AttestorOptions): Attestor & { readonly service: Service } {
  const { link, clock, log, metrics } = options;
  const freshMs = options.freshMs ?? FRESH_MS;
  const evidence = createEvidence({
    monotonicMs: () => clock.monotonicMs(),
    lastHeardMs: () => link.lastHeardMs(),
    freshMs,
  });
  const asking = { asker: createAsker(options), record: createRecorder(options), evidence };
  const enqueue = createQueue({ ...asking, clock, log });
  /** How many requests wait for a deposit. */
  const asked = new Map<DepositId, number>();
  const raiser = createRaiser({
    ...options,
    ...asking,
    freshMs,
    isAskedFor: (id) => asked.has(id),
  });

  const finished = (id: DepositId, attested: boolean, startedMs: number) => {
    const others = (asked.get(id) ?? 1) - 1;
    if (others === 0) asked.delete(id);
    else asked.set(id, others);
    if (!attested) raiser.gaveUp(id);
    const help = 'Time until the peer attested a deposit, or until the wait ended.';
    const seconds = (clock.monotonicMs() - startedMs) / 1000;
    metrics.observe('attest_seconds', help, seconds, { attested: String(attested) });
  };

  return {
    attest(id, timeoutMs) {
      const startedMs = clock.monotonicMs();
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const settled = new AbortController();
      const settle = (attested: boolean) => {
        if (settled.signal.aborted) return;
        settled.abort();
        finished(id, attested, startedMs);
        resolve(attested);
      };
      asked.set(id, (asked.get(id) ?? 0) + 1);
      void clock.sleep(Math.max(0, timeoutMs), settled.signal).then(() => {
        if (settled.signal.aborted) return;
        evidence.late();
        settle(false);
      });
      enqueue({ id, deadlineMs: startedMs + timeoutMs, settled, settle });
      return promise;
    },
    isAnswering: () => evidence.isAnswering(),
    service: raiser.service,
  };
}
