/** The peer's word about one deposit, and what is said without it. */
import { AppError } from '../../core/errors.ts';
import type { DepositId } from '../../core/ids.ts';
import type { TakeDeps } from './take-deps.ts';

/** With a peer that does not answer, a deposit waits this long at most: it may be back. */
const UNANSWERED_WAIT_MS = 250;
/** Waits for the peer's word; returns why there is none, or null. */
export async function attested(
  deps: TakeDeps,
  id: DepositId,
  committedAt: number,
): Promise<string | null> {
  if (deps.peer === null) return 'this site has no peer';
  const left = deps.degradeAfterMs - (deps.clock.monotonicMs() - committedAt);
  const answering = deps.attestor.isAnswering();
  const wait = Math.max(0, answering ? left : Math.min(left, UNANSWERED_WAIT_MS));
  if (await deps.attestor.attest(id, wait)) return null;
  return answering ? 'the peer did not attest in time' : 'the peer does not answer';
}

/** `--require-both` and no proof: the deposit may exist, and the sentence says how to find it. */
export function unproven(id: DepositId, keyed: boolean): AppError {
  return new AppError(
    'durability-unproven',
    keyed
      ? 'The peer did not attest this deposit in time. It may exist: send it again with the same Idempotency-Key.'
      : `The peer did not attest this deposit in time. It exists here as /deposits/${id}: look there before sending it again.`,
    { retryAfterSeconds: 2 },
  );
}
