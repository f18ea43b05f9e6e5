/** Raises deposits that were answered `local`: asks for all that are open, whenever the peer can be asked. */
import type { Sql } from 'postgres';
import { describeError } from '../../../core/errors.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Clock, Log, PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { DatabaseCatalogue } from '../catalogue/catalogue.ts';
import { within } from '../catalogue/database-error.ts';
import type { DatabasePools } from '../connections.ts';
import type { Recorder } from './attestor.ts';
import type { Evidence } from './evidence.ts';
import type { Asker } from './peer-word.ts';

const LOOK_EVERY_MS = 1_000;
const READ_WITHIN_MS = 5_000;
/** Every deposit keeps its batch's statement: small batches here, several at a time. */
const BATCH = 16;
const BATCHES_AT_ONCE = 4;
const PEER_WAITS_MS = 1_000;
const ANSWER_WITHIN_MS = 5_000;
/** A deposit committed just now is its request's to ask for. */
const LEFT_ALONE_MS = 3_000;
const GIVEN_UP_MAX = 4_096;

export interface RaiserOptions {
  readonly pools: Pick<DatabasePools, 'service'>;
  readonly catalogue: Pick<DatabaseCatalogue, 'recent'>;
  readonly link: PeerLink;
  readonly clock: Clock;
  readonly log: Log;
  readonly asker: Asker;
  readonly record: Recorder;
  readonly evidence: Evidence;
  readonly freshMs: number;
  /** A request waits for this one. */
  readonly isAskedFor: (id: DepositId) => boolean;
}

export interface Raiser {
  /** No request waits for this deposit any more: it is the raiser's at once. */
  gaveUp(id: DepositId): void;
  readonly service: Service;
}

async function readOpen(sql: Sql, after: string | null): Promise<DepositId[]> {
  const rows = await sql<{ deposit_id: DepositId }[]>`
    SELECT deposit_id FROM node.attestations
    WHERE attested_at IS NULL AND deposit_id > coalesce(${after}::text::uuid,
      '00000000-0000-0000-0000-000000000000')
    ORDER BY deposit_id LIMIT ${BATCH * BATCHES_AT_ONCE}`;
  return rows.map((row) => row.deposit_id);
}

/** Supervise its service; it fails only when the database cannot be asked. */
export function createRaiser(options: RaiserOptions): Raiser {
  const { pools, catalogue, link, clock, log, asker, record, evidence } = options;
  const givenUp = new Set<DepositId>();
  let wake = new AbortController();

  const isOurs = (id: DepositId) => {
    if (options.isAskedFor(id)) return false;
    const recent = catalogue.recent(id);
    if (recent === null || givenUp.has(id)) return true;
    return clock.monotonicMs() - recent.committedAtMs > LEFT_ALONE_MS;
  };
  const canAsk = () => {
    const heard = link.lastHeardMs();
    return heard !== null && clock.monotonicMs() - heard <= options.freshMs;
  };

  /** One batch; false when the peer could not be asked. */
  const raise = async (ids: readonly DepositId[], signal: AbortSignal): Promise<boolean> => {
    const digests = await asker.digests(ids);
    if (digests.size === 0 && ids.length > 0) return true;
    const limits = { waitMs: PEER_WAITS_MS, timeoutMs: ANSWER_WITHIN_MS, signal };
    const answer = await asker.ask(digests, limits).catch((error: unknown) => {
      evidence.failed();
      log.debug('attestation.raise-failed', { error: describeError(error) });
      return null;
    });
    if (answer === null) return false;
    evidence.answered();
    await record(answer, () => false);
    const attested = answer.word?.attested ?? [];
    if (attested.length > 0) {
      evidence.attested();
      log.info('attestation.raised', { deposits: attested.length });
    }
    for (const id of attested) givenUp.delete(id);
    return true;
  };

  /** Everything open, in slices; ends early when the peer goes. */
  const pass = async (signal: AbortSignal): Promise<void> => {
    let after: string | null = null;
    for (;;) {
      const reading = readOpen(pools.service, after);
      const open: DepositId[] = await within(reading, clock, READ_WITHIN_MS, 'open attestations');
      const last = open.at(-1);
      if (last === undefined || signal.aborted || !canAsk()) return;
      after = last;
      const ours = open.filter(isOurs);
      const batches: Promise<boolean>[] = [];
      for (let i = 0; i < ours.length; i += BATCH) {
        batches.push(raise(ours.slice(i, i + BATCH), signal));
      }
      const outcomes = await Promise.all(batches);
      if (outcomes.includes(false)) return;
    }
  };

  return {
    gaveUp(id) {
      givenUp.add(id);
      for (const oldest of givenUp) {
        if (givenUp.size <= GIVEN_UP_MAX) break;
        givenUp.delete(oldest);
      }
      wake.abort();
    },
    service: {
      name: 'attestation-raiser',
      async run({ signal, ready }) {
        ready();
        while (!signal.aborted) {
          const answeredAtMs = evidence.lastAnswerMs();
          const isQuiet =
            answeredAtMs === null || clock.monotonicMs() - answeredAtMs >= LOOK_EVERY_MS;
          // An empty question: would it answer a real one?
          if (isQuiet || !evidence.isAnswering()) await raise([], signal);
          if (canAsk()) await pass(signal);
          wake = new AbortController();
          await clock.sleep(LOOK_EVERY_MS, AbortSignal.any([signal, wake.signal]));
        }
      },
    },
  };
}
