/** The public HTTP server as one Hono app; listeners serve it. */
import { Hono } from 'hono';
import type { Cidr } from '../core/client-address.ts';
import type { SiteName } from '../core/ids.ts';
import type { Alarms, Attestor, Catalogue, Clock, DepositBytes, Log } from '../core/ports.ts';
import type { Accounts } from './accounts/accounts.ts';
import { collectionRoutes } from './accounts/routes.ts';
import { createAuthenticator } from './auth/authenticator.ts';
import { createGuard } from './auth/guard.ts';
import { createPasswordVerifier } from './auth/passwords.ts';
import { createKeysInFlight } from './deposit/keys-in-flight.ts';
import { createLookup, type PeerLookup } from './deposit/lookup.ts';
import { createReceipts } from './deposit/receipts.ts';
import { depositRoutes } from './deposit/routes.ts';
import type { HttpEnv } from './http-env.ts';
import { answerErrors, scope } from './http-scope.ts';
import type { InFlight } from './in-flight.ts';
import { homePage } from './ops/home.ts';
import { type OpsDeps, opsRoutes } from './ops/routes.ts';
import { route } from './routing.ts';

export interface DepositServerSettings {
  /** `--public-url` without a trailing slash; null makes links relative references. */
  readonly publicUrl: string | null;
  readonly requireBoth: boolean;
  readonly requireTls: boolean;
  readonly trustedProxies: readonly Cidr[];
  /** `--degrade-after`. */
  readonly degradeAfterMs: number;
  /** The largest body of one request. */
  readonly maxBodyBytes: number;
  /** How long a client may send nothing. */
  readonly bodyIdleMs: number;
  readonly maxRunningDeposits: number;
}

export const DEFAULT_LIMITS = {
  maxBodyBytes: 1024 ** 4,
  bodyIdleMs: 60_000,
  maxRunningDeposits: 512,
} as const;

export interface DepositServerDeps extends OpsDeps {
  readonly site: SiteName;
  /** Null while this site has no peer. */
  readonly peer: SiteName | null;
  readonly settings: DepositServerSettings;
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  /** Cryptographically strong. */
  readonly random: (bytes: number) => Uint8Array;
  readonly catalogue: Catalogue;
  readonly bytes: DepositBytes;
  readonly attestor: Attestor;
  readonly accounts: Accounts;
  readonly inFlight: InFlight;
  /** Null while this site has no peer. */
  readonly lookupAtPeer: PeerLookup | null;
  /** Every row of the peer's is here, as far as this site knows. */
  readonly caughtUp: () => boolean;
}

/** How long reading a receipt may wait for this site's own copy to be verified. */
const VERIFY_MS = 2000;

/** The app of `--listen`. Serve it with createHttpListener. */
export function createDepositServer(deps: DepositServerDeps): Hono<HttpEnv> {
  const { accounts, clock, settings, site, peer, catalogue, bytes } = deps;
  const passwords = createPasswordVerifier({ clock, key: deps.random(32) });
  const guard = createGuard({
    ...settings,
    accounts,
    clock,
    alarms: deps.alarms,
    authenticator: createAuthenticator({ accounts, passwords }),
  });
  const lookup = createLookup(deps);
  const { publicUrl } = settings;
  const receipts = createReceipts({
    site,
    peer,
    publicUrl,
    catalogue,
    bytes,
    clock,
    verifyMs: VERIFY_MS,
  });
  const app = new Hono<HttpEnv>();
  scope(app, deps);
  route(app, '/', { GET: homePage(site) });
  opsRoutes(app, deps, (context) => guard.operator(context));
  collectionRoutes(app, { guard, accounts, clock });
  depositRoutes(app, {
    guard,
    lookup,
    receipts,
    catalogue,
    publicUrl,
    readiness: deps.readiness,
    maxRunningDeposits: settings.maxRunningDeposits,
    inFlight: deps.inFlight,
    log: deps.log,
    metrics: deps.metrics,
    take: { ...deps, ...settings, keys: createKeysInFlight(), lookup, receipts },
  });
  answerErrors(app, deps);
  return app;
}
