/** The commit whose outcome is known, or said to be unknown. */
import type { NewDeposit } from '../../core/deposit.ts';
import { AppError } from '../../core/errors.ts';
import type { Catalogue, Clock } from '../../core/ports.ts';

/** A COMMIT whose connection broke may still be flushing: it is looked for this often, this far apart. */
const LOOKS = 4;
const LOOK_EVERY_MS = 250;

/**
 * Commits the rows. When the commit fails the record is looked for before anything is answered,
 * because a broken connection says nothing about the transaction. Throws AppError `database-down`
 * with what to do when the outcome stays unknown.
 */
export async function commitKnowingly(
  catalogue: Pick<Catalogue, 'commit' | 'find'>,
  clock: Clock,
  rows: NewDeposit,
  keyed: boolean,
): Promise<'committed' | 'existed'> {
  try {
    return (await catalogue.commit(rows)).outcome;
  } catch (error) {
    const { id } = rows.deposit;
    for (let look = 0; look < LOOKS; look += 1) {
      await clock.sleep(LOOK_EVERY_MS);
      const found = await catalogue.find(id).catch(() => null);
      if (found) {
        const ours = new Set(rows.events.map((event) => event.id));
        return found.events.some((event) => ours.has(event.id)) ? 'committed' : 'existed';
      }
    }
    throw new AppError(
      'database-down',
      keyed
        ? 'The database did not confirm this deposit; it may exist. Send it again with the same Idempotency-Key.'
        : `The database did not confirm this deposit; if it was taken it is /deposits/${id}. Look there before sending it again.`,
      { cause: error, retryAfterSeconds: 2 },
    );
  }
}
