/** Everything that answers: the public server, operations, the agent-check, the admin socket. */
import { parseCidr } from '../../core/client-address.ts';
import { AppError } from '../../core/errors.ts';
import type { DepositId } from '../../core/ids.ts';
import { decideReadiness } from '../../core/readiness.ts';
import type { Service } from '../../core/service.ts';
import { answerLookups, createPeerLookup } from '../../engine/database/attestation/lookup.ts';
import { type Accounts, accountsService, createAccounts } from '../../server/accounts/accounts.ts';
import { createAdminApp } from '../../server/admin/app.ts';
import { createAdminListener } from '../../server/admin/listener.ts';
import { createDepositServer, DEFAULT_LIMITS } from '../../server/app.ts';
import { createInFlight } from '../../server/in-flight.ts';
import { createHttpListener } from '../../server/listener.ts';
import { createAgentCheck } from '../../server/ops/agent-check.ts';
import { createLoadMeter } from '../../server/ops/load.ts';
import { createOpsApp } from '../../server/ops/routes.ts';
import { assembleStatus } from '../../server/ops/status.ts';
import { prepareAdminSocket } from '../admin/socket-path.ts';
import type { DatabasePart } from './database.ts';
import type { EnginesPart } from './engines.ts';
import type { FailoverPart } from './failover.ts';
import type { LinkPart } from './link.ts';
import { shareBytes } from './share.ts';
import type { Ground } from './site.ts';
import type { StoresPart } from './stores.ts';

export interface RequestsPart {
  isListening(): boolean;
  whenIdle(signal: AbortSignal): Promise<void>;
  load(): number;
  /** Calls back once, when this site's own parts run. */
  whenReady(listener: () => void): void;
}

export interface RequestsParts {
  readonly link: LinkPart;
  readonly stores: StoresPart;
  readonly engines: EnginesPart;
  readonly database: DatabasePart;
  readonly failover: FailoverPart;
}

function trustedProxies(ground: Ground) {
  return ground.config.trustedProxies.map((text) => {
    const cidr = parseCidr(text);
    if (cidr === null) throw new AppError('config', `--trusted-proxies: ${text} is no CIDR`);
    return cidr;
  });
}

/** The views that every listener shares: how ready, how loaded, and the whole document. */
function makeViews(ground: Ground, parts: RequestsParts) {
  const { config, names } = ground;
  const { stores, engines, database, failover } = parts;
  const inFlight = createInFlight();
  const meter = createLoadMeter({ inFlight: () => inFlight.inFlight() });
  const readiness = () => {
    const { freeBytes, totalBytes } = stores.own.status();
    return decideReadiness({
      view: failover.view(),
      served: failover.served(),
      storeHealth: stores.own.health(),
      databaseUp: database.isUp(),
      freeBytes: totalBytes > 0 ? freeBytes : null,
      minFreeBytes: shareBytes(config.minFree, totalBytes),
      hasPeer: names.peer !== null,
      requireBoth: config.requireBoth,
      attestorAnswering: engines.attestor.isAnswering(),
    });
  };
  const sources = {
    site: names.site,
    peerSite: names.peer,
    startedAt: ground.startedAt,
    view: () => failover.view(),
    readiness,
    load: () => meter.load(),
    filestore: () => failover.filestoreStatus(),
    store: () => stores.own.status(),
    peerStore: () => stores.peer?.status() ?? null,
    peer: () => failover.peerStatus(),
    files: () => engines.filesStatus(),
    database: () => engines.databaseStatus(),
    alarms: ground.alarms,
  };
  return { inFlight, meter, readiness, view: sources.view, status: () => assembleStatus(sources) };
}

/** Answers the peer's questions for deposits that it does not have yet, and asks ours. */
function openLookup(ground: Ground, parts: RequestsParts) {
  const { pair } = parts.link;
  if (pair === null) return null;
  answerLookups(pair.link, parts.engines.catalogue);
  const theirs = createPeerLookup(pair.link);
  const withinMs = ground.config.timers.degradeAfterMs;
  return {
    byId: (id: DepositId) => theirs.byId(id, withinMs),
    byKey: (keyDigest: string) => theirs.byKey(keyDigest, withinMs),
  };
}

type Views = ReturnType<typeof makeViews>;

/** The public server, as `--listen` serves it. */
function openPublic(ground: Ground, parts: RequestsParts, views: Views, accounts: Accounts) {
  const { config, names } = ground;
  const { engines } = parts;
  return createDepositServer({
    ...ground,
    ...views,
    accounts,
    site: names.site,
    peer: names.peer,
    settings: {
      ...DEFAULT_LIMITS,
      publicUrl: config.publicUrl,
      requireBoth: config.requireBoth,
      requireTls: config.requireTls,
      trustedProxies: trustedProxies(ground),
      degradeAfterMs: config.timers.degradeAfterMs,
    },
    catalogue: engines.catalogue,
    bytes: engines.bytes,
    attestor: engines.attestor,
    lookupAtPeer: openLookup(ground, parts),
    caughtUp: () => engines.caughtUp(),
  });
}

/** The listeners that only some configurations have. */
function optionalListeners(ground: Ground, views: Views): Service[] {
  const { opsListen, agentListen } = ground.config;
  const services: Service[] = [];
  if (opsListen) {
    const ops = createOpsApp({ ...ground, ...views });
    services.push(
      createHttpListener({
        name: 'operations',
        flag: '--ops-listen',
        hostname: opsListen.host,
        port: opsListen.port,
        fetch: (request, connection) => ops.fetch(request, connection),
        tls: null,
      }),
    );
  }
  if (agentListen) {
    services.push(
      createAgentCheck({
        hostname: agentListen.host,
        port: agentListen.port,
        facts: () => ({
          state: views.view().state,
          ready: views.readiness().ready,
          load: views.meter.load(),
        }),
      }),
    );
  }
  return services;
}

export async function openRequests(ground: Ground, parts: RequestsParts): Promise<RequestsPart> {
  const { config, names, tiers } = ground;
  const { engines, failover, database } = parts;
  const views = makeViews(ground, parts);
  const { inFlight, meter } = views;
  const accounts = createAccounts({ ...ground, catalogue: engines.catalogue });
  const app = openPublic(ground, parts, views, accounts);
  const admin = createAdminApp({
    ...ground,
    ...views,
    accounts,
    control: failover.control,
    sync: (path, signal) => engines.files.sync(path, signal),
  });
  let isListening = false;
  const listener = createHttpListener({
    name: 'public',
    flag: '--listen',
    hostname: config.listen.host,
    port: config.listen.port,
    fetch: (request, connection) => app.fetch(request, connection),
    tls: config.tls,
    onListening: () => {
      isListening = true;
    },
  });
  const socket = createAdminListener({
    path: await prepareAdminSocket({ dataDir: config.dataDir }, names.site),
    fetch: (request, connection) => admin.fetch(request, connection),
  });
  tiers.start('requests', meter.service, listener, socket, ...optionalListeners(ground, views));
  tiers.start('requests', database.afterSchema(accountsService(accounts, engines.catalogue)));
  return {
    isListening: () => isListening,
    whenIdle: (signal) => inFlight.whenIdle(signal),
    load: () => meter.load(),
    whenReady: (tell) => {
      const stop = failover.onChange(() => {
        if (!isListening || !database.isUp()) return;
        stop();
        tell();
      });
    },
  };
}
