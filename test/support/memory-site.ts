/** A whole deposit server over in-memory seams, behind a real listener on a kernel-chosen port. */
import { createHash, randomBytes } from 'node:crypto';
import type { DepositId, SiteName } from '../../src/core/ids.ts';
import type { Alarm, Attestor, SiteView, StoreHealth } from '../../src/core/ports.ts';
import { decideReadiness } from '../../src/core/readiness.ts';
import type { StatusDocument } from '../../src/core/status.ts';
import { rfc3339, systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { createAccounts } from '../../src/server/accounts/accounts.ts';
import {
  createDepositServer,
  DEFAULT_LIMITS,
  type DepositServerDeps,
  type DepositServerSettings,
} from '../../src/server/app.ts';
import { createInFlight } from '../../src/server/in-flight.ts';
import { createHttpListener } from '../../src/server/listener.ts';
import { assembleStatus } from '../../src/server/ops/status.ts';
import { createMemoryBytes } from './memory-bytes.ts';
import { createMemoryCatalogue } from './memory-catalogue.ts';

export interface MemorySiteOptions {
  readonly site?: string;
  readonly peer?: string | null;
  readonly settings?: Partial<DepositServerSettings>;
  readonly lookupAtPeer?: DepositServerDeps['lookupAtPeer'];
  readonly idleTimeoutSeconds?: number;
}

export interface RecordedLine {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function recordingLog(lines: RecordedLine[]) {
  const at =
    (level: string) =>
    (event: string, fields = {}) => {
      lines.push({ level, event, fields });
    };
  const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  return { ...log, child: () => ({ ...log, child: () => silentLog }) };
}

function memoryAlarms() {
  const active = new Map<string, Alarm & { since: string }>();
  return {
    raise: (alarm: Alarm) => void active.set(alarm.code, { ...alarm, since: '' }),
    clear: (code: string) => void active.delete(code),
    list: () => [...active.values()],
  };
}

const NO_FILES: StatusDocument['files'] = {
  entries: 0,
  bytes: 0,
  pendingIn: 0,
  pendingOut: 0,
  oldestPendingMs: 0,
  root: '',
  lastRootMatchAt: null,
  lastFullScanAt: null,
  conflicts: 0,
  unclaimed: 0,
  healedMissing: 0,
  rowsWithoutBytes: 0,
  heldDeletes: 0,
  trash: { entries: 0, bytes: 0, oldestAt: null },
  sync: { phase: 'idle', filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0, etaMs: null },
  scrub: { lastFullAt: null, coverage: 0, rotFound: 0, rotHealed: 0 },
};
const DATABASE: StatusDocument['database'] = {
  mode: 'both',
  inbound: 'streaming',
  outbound: 'streaming',
  lagBytes: 0,
  lagMs: 0,
  digestOk: null,
  digestAt: null,
  walKeptBytes: 0,
  walLimitBytes: 0,
  fullInMs: null,
  postgres: '18.4',
};

/** Everything a test may turn while the site runs. */
export function createMemorySite(options: MemorySiteOptions = {}) {
  const site = (options.site ?? 'a') as SiteName;
  const peer = (options.peer === undefined ? 'b' : options.peer) as SiteName | null;
  const catalogue = createMemoryCatalogue(site);
  const bytes = createMemoryBytes();
  const lines: RecordedLine[] = [];
  const alarms = memoryAlarms();
  const inFlight = createInFlight();
  const metrics = createMetrics();
  const facts = {
    state: 'paired' as SiteView['state'],
    verdict: 'alive' as SiteView['verdict'],
    storeHealth: { ok: true } as StoreHealth,
    freeBytes: 1e12,
    answering: true,
    /** What the attestor says about each deposit. */
    attests: true,
    caughtUp: true,
    attestCalls: [] as { id: DepositId; timeoutMs: number }[],
  };
  const attestor: Attestor = {
    async attest(id, timeoutMs) {
      facts.attestCalls.push({ id, timeoutMs });
      if (!facts.attests) return false;
      catalogue.markAttested(id, rfc3339(systemClock.wallMs()));
      return true;
    },
    isAnswering: () => facts.answering,
  };
  const settings: DepositServerSettings = {
    publicUrl: null,
    requireBoth: false,
    requireTls: false,
    trustedProxies: [],
    degradeAfterMs: 1500,
    ...DEFAULT_LIMITS,
    ...options.settings,
  };
  const view = (): SiteView => ({
    state: facts.state,
    epoch: null,
    holder: site,
    since: '2026-01-01T00:00:00.000Z',
    verdict: facts.verdict,
    mayBeStale: false,
  });
  const readiness = () =>
    decideReadiness({
      view: view(),
      served: true,
      storeHealth: facts.storeHealth,
      databaseUp: !catalogue.isDown,
      freeBytes: facts.freeBytes,
      minFreeBytes: 1000,
      hasPeer: peer !== null,
      requireBoth: settings.requireBoth,
      attestorAnswering: facts.answering,
    });
  const status = () =>
    assembleStatus({
      site,
      peerSite: peer,
      startedAt: '2026-01-01T00:00:00.000Z',
      view,
      readiness,
      load: () => 0.25,
      filestore: () => ({ path: '/filestore', target: '/store', store: 'id' }),
      store: () => ({
        path: '/store',
        id: 'id',
        health: 'ok',
        reason: null,
        freeBytes: facts.freeBytes,
        totalBytes: 2e12,
      }),
      peerStore: () => null,
      peer: () => null,
      files: () => NO_FILES,
      database: () => DATABASE,
      alarms,
    });
  const random = (count: number) => new Uint8Array(randomBytes(count));
  const accounts = createAccounts({ catalogue, clock: systemClock, random });
  const deps: DepositServerDeps = {
    site,
    peer,
    settings,
    clock: systemClock,
    log: recordingLog(lines),
    alarms,
    metrics,
    random,
    catalogue,
    bytes,
    attestor,
    accounts,
    inFlight,
    lookupAtPeer: options.lookupAtPeer ?? null,
    caughtUp: () => facts.caughtUp,
    view,
    readiness,
    status,
  };
  const app = createDepositServer(deps);
  return { site, peer, app, deps, catalogue, bytes, accounts, alarms, lines, facts, inFlight };
}

export type MemorySite = ReturnType<typeof createMemorySite>;

export interface RunningSite extends MemorySite, AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** A depositor `alice` of collection `papers`. */
  readonly token: string;
  auth(extra?: Record<string, string>): Record<string, string>;
  deposit(
    body: string | Uint8Array | ReadableStream,
    headers?: Record<string, string>,
  ): Promise<Response>;
}

/** Starts the site's listener, with a collection and a depositor in place. */
export async function startMemorySite(options: MemorySiteOptions = {}): Promise<RunningSite> {
  const site = createMemorySite(options);
  const stopping = new AbortController();
  const listening = Promise.withResolvers<number>();
  const running = createHttpListener({
    name: 'http',
    flag: '--listen',
    hostname: '127.0.0.1',
    port: 0,
    tls: null,
    drainMs: 2000,
    fetch: (request, connection) => site.app.fetch(request, connection),
    onListening: ({ port }) => listening.resolve(port),
    ...(options.idleTimeoutSeconds === undefined
      ? {}
      : { idleTimeoutSeconds: options.idleTimeoutSeconds }),
  }).run({ signal: stopping.signal, clock: systemClock, log: silentLog, ready: () => undefined });
  running.catch(listening.reject);
  const port = await listening.promise;
  await site.accounts.addCollection('papers', 'Papers');
  const { token } = await site.accounts.addDepositor('alice', 'papers');
  const url = `http://127.0.0.1:${port}`;
  const auth = (extra: Record<string, string> = {}) => ({
    authorization: `Bearer ${token}`,
    ...extra,
  });
  return {
    ...site,
    port,
    url,
    token,
    auth,
    deposit: (body, headers = {}) =>
      fetch(`${url}/collections/papers/deposits`, {
        method: 'POST',
        headers: auth(headers),
        body: body as string,
      }),
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await running;
    },
  };
}

/** Hex SHA-256 and MD5 by another implementation than the product's. */
export function digests(body: string | Uint8Array) {
  const of = (algorithm: string, encoding: 'hex' | 'base64') =>
    createHash(algorithm).update(body).digest(encoding);
  return {
    sha256: of('sha256', 'hex'),
    sha256Base64: of('sha256', 'base64'),
    sha512Base64: of('sha512', 'base64'),
    md5: of('md5', 'hex'),
    md5Base64: of('md5', 'base64'),
  };
}
