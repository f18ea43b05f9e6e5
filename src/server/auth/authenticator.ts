/** Who a request is from: Bearer token, Basic password, or a token in either place of Basic. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Account, AccountsState } from '../../core/accounts.ts';
import type { Accounts } from '../accounts/accounts.ts';
import { HttpError } from '../problem.ts';
import { type Credentials, parseCredentials } from './credentials.ts';
import type { PasswordVerifier } from './passwords.ts';

export interface Authenticator {
  /** Throws `unauthorized` with both challenges, or what the accounts or the verifier throw. */
  authenticate(authorization: string | null): Promise<Account>;
}

function unauthorized(detail: string): HttpError {
  return new HttpError('unauthorized', detail, {
    headers: [
      ['WWW-Authenticate', 'Basic realm="twinsite", charset="UTF-8"'],
      ['WWW-Authenticate', 'Bearer realm="twinsite"'],
    ],
  });
}

function byToken(state: AccountsState, token: string): Account | null {
  if (token === '') return null;
  const digest = createHash('sha256').update(token).digest();
  const account = state.byToken.get(digest.toString('hex'));
  // The map was asked for a hash, not for the secret; the comparison itself takes constant time.
  const held = account?.tokens.some((known) =>
    timingSafeEqual(Buffer.from(known.sha256, 'hex'), digest),
  );
  return account && held && !account.disabled ? account : null;
}

export function createAuthenticator(deps: {
  readonly accounts: Accounts;
  readonly passwords: PasswordVerifier;
}): Authenticator {
  const { accounts, passwords } = deps;

  const basic = async (
    state: AccountsState,
    user: string,
    password: string,
  ): Promise<Account | null> => {
    if (password === '') return byToken(state, user);
    const holder = byToken(state, password);
    if (holder?.name === user) return holder;
    // Names are no secret, so an unknown one is told apart by time; a password never is.
    for (const account of [state.depositors.get(user), state.admins.get(user)]) {
      if (!account || account.disabled || account.passwordHash === null) continue;
      if (await passwords.verify(user, password, account.passwordHash)) return account;
    }
    return null;
  };
  const check = (state: AccountsState, credentials: Credentials): Promise<Account | null> =>
    credentials.scheme === 'bearer'
      ? Promise.resolve(byToken(state, credentials.token))
      : basic(state, credentials.user, credentials.password);

  return {
    async authenticate(authorization) {
      const credentials = parseCredentials(authorization);
      if (!credentials) {
        throw unauthorized(
          authorization === null
            ? 'Send Basic or Bearer credentials.'
            : 'The Authorization header is neither Basic nor Bearer.',
        );
      }
      const known = await accounts.current();
      const account = await check(known, credentials);
      if (account) return account;
      // It may have been made at the other site a moment ago: read again before saying no.
      const fresh = await accounts.fresh();
      const found = fresh === known ? null : await check(fresh, credentials);
      if (found) return found;
      throw unauthorized('These credentials are not known here, or the account is disabled.');
    },
  };
}
