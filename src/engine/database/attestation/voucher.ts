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
import { recordVouched } from './record.ts';
import { createSigner } from './signing.ts';
import { readVisible, type VisibleDeposit } from './visible-rows.ts';
import { ATTEST_METHOD, type AttestAnswer, attestRequest, type Refusal } from './wire.ts';

const DATABASE_WITHIN_MS = 5_000;
/** Once one is ready, the others of its batch hold it up no longer than this. */
const STRAGGLER_MS = 5;
const BYTES_AGAIN_MS = 100;
const FILES_AT_ONCE = 8;

export interface VoucherOptions {
  readonly pools: Pick<DatabasePools, 'service'>;
  readonly catalogue: Pick<DatabaseCatalogue, 'needs'>;
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
}

type Verdict =
  | { readonly id: DepositId; readonly held: VisibleDeposit }
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

/** Answers the peer's questions from now on. Throws `identity-invalid`. */
export function createVoucher(options: VoucherOptions): void {
  const { pools, store, identity, link, clock, log } = options;
  const holdsAll = createHolding(options.bytes, log);
  const sign = createSigner(identity);
  const arrivals = createArrivals({
    read: (ids) => within(readVisible(pools.service, ids), clock, DATABASE_WITHIN_MS, 'arrivals'),
    onArrival: (listener) => options.catalogue.needs.onArrival(listener),
    clock,
    failed: (error) => log.debug('attestation.look-failed', { error: describeError(error) }),
  });

  const judge = async (question: Question, signal: AbortSignal): Promise<Verdict> => {
    const { id } = question;
    const row = await arrivals.wait(id, signal);
    if (row === null) return { id, refused: 'missing' };
    if (rowDigest(row.deposit, row.files, sha256Hex) !== question.rowDigest) {
      log.error('attestation.rows-differ', { id });
      return { id, refused: 'rows-differ' };
    }
    while (!(await holdsAll(row.files))) {
      if (!signal.aborted) await clock.sleep(BYTES_AGAIN_MS, signal);
      if (signal.aborted) return { id, refused: 'bytes-missing' };
    }
    return { id, held: row };
  };

  /** Verdicts as far as they are in when the time is over; what is late counts as missing. */
  const judgeAll = async (
    questions: readonly Question[],
    waitMs: number,
    signal: AbortSignal,
  ): Promise<readonly Verdict[]> => {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const verdicts = new Map<DepositId, Verdict>();
    const straggling = Promise.withResolvers<void>();
    const judging = questions.map(async (question) => {
      const verdict = await judge(question, either);
      if (over.signal.aborted) return;
      verdicts.set(question.id, verdict);
      if ('held' in verdict) straggling.resolve(clock.sleep(STRAGGLER_MS, either));
    });
    const all = Promise.all(judging).catch((error: unknown) => {
      log.warn('attestation.judge-failed', { error: describeError(error) });
    });
    await Promise.race([all, straggling.promise, clock.sleep(waitMs, either)]);
    over.abort();
    return questions.map(({ id }) => verdicts.get(id) ?? { id, refused: 'missing' });
  };

  const vouch = async (held: readonly VisibleDeposit[]): Promise<AttestAnswer> => {
    const at = rfc3339(clock.wallMs());
    const statement = attestationText({
      pairId: identity.pairId,
      site: identity.site,
      storeId: store.id,
      storeGeneration: store.generation,
      at,
      deposits: held.map((row) => [row.deposit.id, rowDigest(row.deposit, row.files, sha256Hex)]),
    });
    // Recorded before it is said, so that this site tells `both` from the moment the other may.
    await Promise.all([
      store.assertSame(),
      within(recordVouched(pools.service, held, at), clock, DATABASE_WITHIN_MS, 'vouch'),
    ]);
    return {
      statement,
      signature: sign(statement),
      refused: [],
      received: held.map((row) => ({ id: row.deposit.id, event: row.received })),
    };
  };

  link.answer(ATTEST_METHOD, async (body, signal): Promise<AttestAnswer> => {
    const request = attestRequest.safeParse(body);
    if (!request.success) throw new AppError('bad-request', request.error.message);
    if (!options.replicationAllReady()) {
      throw new AppError('not-ready', 'Rows of this pair are not all here yet.');
    }
    const health = store.health();
    if (!health.ok) throw new AppError('store-failed', health.reason);
    const verdicts = await judgeAll(request.data.deposits, request.data.waitMs, signal);
    const held = verdicts.flatMap((verdict) => ('held' in verdict ? [verdict.held] : []));
    const refused = verdicts.flatMap((verdict) =>
      'refused' in verdict ? [{ id: verdict.id, reason: verdict.refused }] : [],
    );
    const answer: AttestAnswer =
      held.length > 0
        ? await vouch(held)
        : { statement: null, signature: null, refused: [], received: [] };
    return { ...answer, refused };
  });
}
