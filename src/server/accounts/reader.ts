/** The accounts as they were read last, and how to read them again. */
import { type AccountsState, EMPTY_ACCOUNTS, foldAccounts } from '../../core/accounts.ts';
import { AppError } from '../../core/errors.ts';
import type { Catalogue } from '../../core/ports.ts';

export const ENTITY_KINDS = ['collection', 'depositor', 'admin'] as const;

export interface Reader {
  /** What was read last; reads first when nothing was. Throws AppError `database-down`. */
  current(): Promise<AccountsState>;
  /** Joins a reading that begins after this call. Throws AppError `database-down`. */
  fresh(): Promise<AccountsState>;
}

/** One reading at a time; whoever asks while one runs shares the one that follows it. */
export function createReader(catalogue: Pick<Catalogue, 'events'>): Reader {
  let state: AccountsState | null = null;
  let running: Promise<AccountsState> | null = null;
  let following: Promise<AccountsState> | null = null;

  let begun = 0;
  let shown = 0;

  const read = async (): Promise<AccountsState> => {
    begun += 1;
    const mine = begun;
    try {
      const lists = await Promise.all(ENTITY_KINDS.map((kind) => catalogue.events(`${kind}/`)));
      const found = foldAccounts(lists.flat());
      // A reading that was overtaken does not put an older state over a newer one.
      if (mine > shown) {
        shown = mine;
        state = found;
      }
      return found;
    } catch (error) {
      if (error instanceof AppError) throw error;
      throw new AppError('database-down', 'The accounts cannot be read now; try again.', {
        cause: error,
      });
    }
  };
  const begin = (): Promise<AccountsState> => {
    running = read().finally(() => {
      running = null;
    });
    return running;
  };
  const fresh = (): Promise<AccountsState> => {
    if (!running) return begin();
    following ??= running
      .catch(() => EMPTY_ACCOUNTS)
      .then(() => {
        following = null;
        return begin();
      });
    return following;
  };
  return { fresh, current: () => (state ? Promise.resolve(state) : fresh()) };
}
