/** The peer's side of attestation: this site's signed word for deposits that it durably holds. */
import { attestationText, rowDigest } from '../../../core/attestation.ts';
import type { DepositFileRow } from '../../../core/deposit.ts';
import { AppError, describeError } from '../../../core/errors.ts';
import type { PairIdentity } from '../../../core/identity.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Clock, DepositBytes, Log, OwnStore, PeerLink } from '../../../core/ports.ts';
import { rfc3339 } from '../../../platform/clock.ts';
import { sha256Hex } from '../../../platform/hashing.ts';
import type { DatabaseCatalogue } from '../catalogue/catalogue.ts';
import { within } from '../catalogue/database-error.ts';
import type { DatabasePools } from '../connections.ts';
import { createArrivals } from './arrivals.ts';
import { createSigner } from './signing.ts';
import { readVisible, type VisibleDeposit } from './visible-rows.ts';
import { ATTEST_METHOD, type AttestAnswer, attestRequest, type Refusal } from './wire.ts';

const DATABASE_WITHIN_MS = 5_000;
/** Once one is ready, the others of its batch hold it up no longer than this. */
const STRAGGLER_MS = 5;
const BYTES_AGAIN_MS = 100;
/** Younger rows are not looked for before something arrives: measured, it is 2 ms at best. */
const ARRIVES_AFTER_MS = 3;
const FILES_AT_ONCE = 8;

export interface VoucherOptions {
  readonly pools: Pick<DatabasePools, 'service'>;
  readonly catalogue: Pick<DatabaseCatalogue, 'needs' | 'vouched'>;
  readonly bytes: Pick<DepositBytes, 'ensureHeld'>;
  readonly store: OwnStore;
  readonly identity: PairIdentity;
  readonly link: PeerLink;
  readonly clock: Clock;
  readonly log: Log;
  /** Every table that the peer publishes is here, its first copy complete. */
  readonly replicationAllReady: () => boolean;
}

interface Question {
  readonly id: DepositId;
  readonly rowDigest: string;
  readonly ageMs?: number | undefined;
}

type Held = VisibleDeposit & { readonly digest: string };

type Verdict =
  | { readonly id: DepositId; readonly held: Held }
  | { readonly id: DepositId; readonly refused: Refusal };

/** Asks for each file once at a time, however often its deposit is asked for meanwhile. */
function createHolding(bytes: VoucherOptions['bytes'], log: Log) {
  const asking = new Map<string, Promise<boolean>>();
  const isHeld = (file: DepositFileRow): Promise<boolean> => {
    const known = asking.get(file.id);
    if (known !== undefined) return known;
    const answer = bytes
      .ensureHeld(file)
      .catch((error: unknown) => {
        log.warn('attestation.bytes-unknown', { file: file.id, error: describeError(error) });
        return false;
      })
      .finally(() => asking.delete(file.id));
    asking.set(file.id, answer);
    return answer;
  };
  return async (files: readonly DepositFileRow[]): Promise<boolean> => {
    for (let i = 0; i < files.length; i += FILES_AT_ONCE) {
      const held = await Promise.all(files.slice(i, i + FILES_AT_ONCE).map(isHeld));
      if (held.includes(false)) return false;
    }
    return true;
  };
}

type Judge = (question: Question, signal: AbortSignal) => Promise<Verdict>;

/** Waits for one deposit's rows and bytes; when the signal aborts, what is not there is refused. */
function createJudge(options: VoucherOptions): Judge {
  const { pools, clock, log } = options;
  const holdsAll = createHolding(options.bytes, log);
  const arrivals = createArrivals({
    read: (ids) => within(readVisible(pools.service, ids), clock, DATABASE_WITHIN_MS, 'arrivals'),
    onArrival: (listener) => options.catalogue.needs.onArrival(listener),
    clock,
    failed: (error) => log.debug('attestation.look-failed', { error: describeError(error) }),
  });
  return async ({ id, rowDigest: asked, ageMs }, signal) => {
    const delayMs = ageMs === undefined ? 0 : Math.max(0, ARRIVES_AFTER_MS - ageMs);
    const row = await arrivals.wait(id, signal, delayMs);
    if (row === null) return { id, refused: 'missing' };
    if (rowDigest(row.deposit, row.files, sha256Hex) !== asked) {
      log.error('attestation.rows-differ', { id });
      return { id, refused: 'rows-differ' };
    }
    while (!(await holdsAll(row.files))) {
      if (!signal.aborted) await clock.sleep(BYTES_AGAIN_MS, signal);
      if (signal.aborted) return { id, refused: 'bytes-missing' };
    }
    return { id, held: { ...row, digest: asked } };
  };
}

/** Verdicts as far as they are in when the time is over; what is late counts as missing. */
async function judgeAll(
  judge: Judge,
  questions: readonly Question[],
  limits: { readonly waitMs: number; readonly signal: AbortSignal; readonly clock: Clock },
): Promise<readonly Verdict[]> {
  const { waitMs, clock } = limits;
  const over = new AbortController();
  const either = AbortSignal.any([limits.signal, over.signal]);
  const verdicts = new Map<DepositId, Verdict>();
  const straggling = Promise.withResolvers<void>();
  const judging = questions.map(async (question) => {
    const verdict = await judge(question, either);
    if (over.signal.aborted) return;
    verdicts.set(question.id, verdict);
    if ('held' in verdict) straggling.resolve(clock.sleep(STRAGGLER_MS, either));
  });
  await Promise.race([Promise.all(judging), straggling.promise, clock.sleep(waitMs, either)]);
  over.abort();
  return questions.map(({ id }) => verdicts.get(id) ?? { id, refused: 'missing' });
}

type Word = Pick<AttestAnswer, 'statement' | 'signature' | 'received'>;

/** Records, signs and says it: in this order, so that this site tells `both` before the other may. */
function createSpeaker(options: VoucherOptions): (held: readonly Held[]) => Promise<Word> {
  const { store, identity, clock } = options;
  const sign = createSigner(identity);
  return async (held) => {
    if (held.length === 0) return { statement: null, signature: null, received: [] };
    const at = rfc3339(clock.wallMs());
    await store.assertSame();
    await options.catalogue.vouched.put(held, at);
    const statement = attestationText({
      pairId: identity.pairId,
      site: identity.site,
      storeId: store.id,
      storeGeneration: store.generation,
      at,
      deposits: held.map((row) => [row.deposit.id, row.digest]),
    });
    return {
      statement,
      signature: sign(statement),
      received: held.map((row) => ({ id: row.deposit.id, event: row.received })),
    };
  };
}

/** Answers the peer's questions from now on. Throws `identity-invalid`. */
export function createVoucher(options: VoucherOptions): void {
  const { store, link, clock } = options;
  const judge = createJudge(options);
  const speak = createSpeaker(options);

  link.answer(ATTEST_METHOD, async (body, signal): Promise<AttestAnswer> => {
    const request = attestRequest.safeParse(body);
    if (!request.success) throw new AppError('bad-request', request.error.message);
    if (!options.replicationAllReady()) {
      throw new AppError('not-ready', 'Rows of this pair are not all here yet.');
    }
    const health = store.health();
    if (!health.ok) throw new AppError('store-failed', health.reason);
    const { deposits, waitMs } = request.data;
    const verdicts = await judgeAll(judge, deposits, { waitMs, signal, clock });
    const word = await speak(
      verdicts.flatMap((verdict) => ('held' in verdict ? [verdict.held] : [])),
    );
    const refused = verdicts.flatMap((verdict) =>
      'refused' in verdict ? [{ id: verdict.id, reason: verdict.refused }] : [],
    );
    return { ...word, refused };
  });
}
