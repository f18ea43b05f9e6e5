/** The door: credentials in clear, authentication, and who may do what. */
import { type Account, hasRight, type Right } from '../../core/accounts.ts';
import { type Cidr, type ClientView, viewClient } from '../../core/client-address.ts';
import { AppError } from '../../core/errors.ts';
import { type AccountName, parseAccountName } from '../../core/ids.ts';
import type { Alarms, Clock } from '../../core/ports.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { HttpContext } from '../http-env.ts';
import type { Authenticator } from './authenticator.ts';

const DAY_MS = 86_400_000;

export interface GuardDeps {
  readonly authenticator: Authenticator;
  readonly accounts: Accounts;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly trustedProxies: readonly Cidr[];
  readonly requireTls: boolean;
}

export interface Guard {
  view(context: HttpContext): ClientView;
  /** The account behind the request. Throws `unauthorized` or `tls-required`. */
  account(context: HttpContext): Promise<Account>;
  /** As account(), and an administrator. Throws `forbidden`. */
  admin(context: HttpContext): Promise<Account>;
  /** Loopback needs no credentials for operations pages; everybody else must be an administrator. */
  operator(context: HttpContext): Promise<void>;
  /**
   * The account with this right as it is now, or null; read again when this site does not know it.
   */
  withRight(account: Account, collection: AccountName, right: Right): Promise<Account | null>;
  /** The collection named in the path, when it exists; null otherwise. */
  collection(name: string): Promise<AccountName | null>;
}

/** Raises the alarm of credentials in clear, as one log line a day. */
function createClearTextAlarm(alarms: Alarms, clock: Clock): (client: ClientView) => void {
  let raisedAt: number | null = null;
  return (client) => {
    const now = clock.monotonicMs();
    if (raisedAt !== null && now - raisedAt < DAY_MS) return;
    if (raisedAt !== null) alarms.clear('credentials-in-clear');
    raisedAt = now;
    alarms.raise({
      code: 'credentials-in-clear',
      severity: 'warning',
      text: `${client.address} sent credentials over plain HTTP; use TLS, --trusted-proxies for the load balancer, or --require-tls`,
      runbook: 'operations.md#credentials-in-clear',
    });
  };
}

export function createGuard(deps: GuardDeps): Guard {
  const { accounts, authenticator } = deps;
  const clearText = createClearTextAlarm(deps.alarms, deps.clock);
  const view = (context: HttpContext): ClientView =>
    viewClient(
      context.env.remoteAddress,
      context.env.encrypted,
      (name) => context.req.header(name) ?? null,
      deps.trustedProxies,
    );
  const account = async (context: HttpContext): Promise<Account> => {
    const authorization = context.req.header('Authorization') ?? null;
    const client = view(context);
    if (authorization !== null && !client.secure) {
      if (deps.requireTls) {
        throw new AppError(
          'tls-required',
          'Credentials are not accepted over plain HTTP here: use https, and change what was just sent.',
        );
      }
      clearText(client);
    }
    return authenticator.authenticate(authorization);
  };
  const admin = async (context: HttpContext): Promise<Account> => {
    const found = await account(context);
    if (found.kind !== 'admin')
      throw new AppError('forbidden', 'Only an administrator may do this.');
    return found;
  };
  return {
    view,
    account,
    admin,
    async operator(context) {
      if (!view(context).loopback) await admin(context);
    },
    async withRight(known, collection, right) {
      if (hasRight(known, collection, right)) return known;
      const state = await accounts.fresh();
      const now = (known.kind === 'admin' ? state.admins : state.depositors).get(known.name);
      return now && hasRight(now, collection, right) ? now : null;
    },
    async collection(text) {
      const name = parseAccountName(text);
      if (name === null) return null;
      if ((await accounts.current()).collections.has(name)) return name;
      return (await accounts.fresh()).collections.has(name) ? name : null;
    },
  };
}
