/** Two databases with replication between them over a local link; faults at will. */
import { randomBytes } from 'node:crypto';
import {
  type DepositFileRow,
  depositEntity,
  depositFileId,
  keyedDepositId,
  type NewDeposit,
} from '../../src/core/deposit.ts';
import { type AccountName, type DepositId, newUuid, type SiteName } from '../../src/core/ids.ts';
import type { Alarms, Log, PeerLink } from '../../src/core/ports.ts';
import type { Service } from '../../src/core/service.ts';
import { supervise } from '../../src/core/supervise.ts';
import {
  createCatalogue,
  type DatabaseCatalogue,
} from '../../src/engine/database/catalogue/catalogue.ts';
import {
  createReplication,
  type Replication,
} from '../../src/engine/database/replication/replication.ts';
import { createAlarms } from '../../src/platform/alarms.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { sha256Hex } from '../../src/platform/hashing.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics, type MetricsRegistry } from '../../src/platform/metrics.ts';
import { type LocalLinkPair, openLocalLinks } from './local-link.ts';
import { startTestPostgres, type TestPostgres } from './postgres.ts';

export const A = 'a' as SiteName;
export const B = 'b' as SiteName;

export interface TestSite {
  readonly site: SiteName;
  readonly postgres: TestPostgres;
  readonly link: PeerLink;
  readonly catalogue: DatabaseCatalogue;
  readonly replication: Replication;
  readonly alarms: Alarms;
  readonly metrics: MetricsRegistry;
  readonly log: Log;
  /** Runs a service until the site is stopped. */
  run(service: Service): void;
  /** Stops the services; the database goes on. */
  stopServices(): Promise<void>;
}

export interface ReplicatedPair {
  readonly a: TestSite;
  readonly b: TestSite;
  readonly link: LocalLinkPair;
  stop(): Promise<void>;
}

/** Polls until the condition holds; fails after `ms`, with what it last was. */
export async function until<T>(
  what: string,
  probe: () => Promise<T> | T,
  holds: (value: T) => boolean = Boolean,
  ms = 30_000,
): Promise<T> {
  const started = performance.now();
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (holds(value)) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (performance.now() - started > ms) {
      throw new Error(`not within ${ms} ms: ${what}; last: ${Bun.inspect(last)}`);
    }
    await Bun.sleep(20);
  }
}

/** What a promise was rejected with; null when it was not. */
export async function errorOf(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise;
    return null;
  } catch (error) {
    return error;
  }
}

export function createTestSite(
  site: SiteName,
  peer: SiteName,
  postgres: TestPostgres,
  link: PeerLink,
  log: Log = silentLog,
): TestSite {
  const alarms = createAlarms(systemClock, log);
  const metrics = createMetrics();
  const clock = systemClock;
  const { pools, endpoint, dataDir } = postgres;
  const catalogue = createCatalogue({ pools, site, clock, log });
  const replication = createReplication({
    ...{ pools, endpoint, link, site, peer, dataDir, clock, log, alarms, metrics },
  });
  const stopping = new AbortController();
  const running: Promise<void>[] = [];
  const run = (service: Service) => {
    running.push(supervise(service, { signal: stopping.signal, clock, log, random: Math.random }));
  };
  run(catalogue.service);
  run(replication.service);
  return {
    ...{ site, postgres, link, catalogue, replication, alarms, metrics, log, run },
    async stopServices() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

export async function startReplicatedPair(log: Log = silentLog): Promise<ReplicatedPair> {
  const [pa, pb, link] = await Promise.all([
    startTestPostgres({ log }),
    startTestPostgres({ log }),
    openLocalLinks(A, B),
  ]);
  const a = createTestSite(A, B, pa, link.a, log.child({ site: 'a' }));
  const b = createTestSite(B, A, pb, link.b, log.child({ site: 'b' }));
  return {
    a,
    b,
    link,
    async stop() {
      await Promise.all([a.stopServices(), b.stopServices()]);
      await link.close();
      await Promise.all([pa.stop(), pb.stop()]);
    },
  };
}

/** Resolves when rows flow both ways and every first copy is complete. */
export async function paired({ a, b }: ReplicatedPair, ms = 30_000): Promise<void> {
  await until(
    'replication both ways',
    () => [a.replication.status(), b.replication.status()],
    (both) => both.every((status) => status.mode === 'both'),
    ms,
  );
}

export interface DepositWish {
  readonly site: SiteName;
  readonly key?: string;
  readonly name?: string;
  readonly content?: string;
  readonly files?: number;
}

/** A deposit's rows as the server would build them; equal wishes with a key give equal rows. */
export function newDeposit(wish: DepositWish): NewDeposit {
  const content = wish.content ?? 'content';
  const sha256 = sha256Hex(content);
  const requestDigest = sha256Hex(`request ${wish.name ?? 'paper.pdf'} ${content}`);
  const keyDigest = wish.key === undefined ? null : sha256Hex(`key ${wish.key}`);
  const id =
    keyDigest === null
      ? (newUuid(randomBytes(16), Date.now()) as DepositId)
      : keyedDepositId(keyDigest, requestDigest);
  const name = wish.name ?? 'paper.pdf';
  const files: DepositFileRow[] = Array.from({ length: wish.files ?? 1 }, (_, ordinal) => ({
    id: depositFileId(id, ordinal, name, sha256),
    depositId: id,
    ordinal,
    name: ordinal === 0 ? name : `${ordinal}-${name}`,
    mediaType: 'application/pdf',
    sizeBytes: content.length,
    sha256,
    md5: '0'.repeat(32),
    chunkSha256: [sha256],
    path: `deposits/papers/${id.slice(-2)}/${id}/${ordinal}/${name}`,
  }));
  return {
    deposit: {
      id,
      collection: 'papers' as AccountName,
      depositor: 'ada' as AccountName,
      onBehalfOf: null,
      title: 'Ünïcode "title"',
      packaging: null,
      fileCount: files.length,
      requestDigest,
      keyDigest,
    },
    files,
    events: [
      {
        id: newUuid(randomBytes(16), Date.now()),
        entity: depositEntity(id),
        counter: 1,
        site: wish.site,
        at: new Date().toISOString(),
        kind: 'received',
        body: {},
      },
    ],
  };
}

/** A digest of all replicated rows of a database. */
export async function contentDigest(postgres: TestPostgres): Promise<string> {
  const [row] = await postgres.pools.admin<{ digest: string }[]>`
    SELECT concat_ws('|',
      (SELECT count(*) || ' ' || coalesce(md5(string_agg(d::text, ',' ORDER BY id)), '') FROM twinsite.deposits d),
      (SELECT count(*) || ' ' || coalesce(md5(string_agg(f::text, ',' ORDER BY id)), '') FROM twinsite.deposit_files f),
      (SELECT count(*) || ' ' || coalesce(md5(string_agg(e::text, ',' ORDER BY id)), '') FROM twinsite.events e)
    ) AS digest`;
  return row?.digest ?? '';
}

/** Resolves to the digest once both databases hold equal rows. */
export async function equalRows({ a, b }: ReplicatedPair, ms = 30_000): Promise<string> {
  const [digest] = await until(
    'equal rows at both sites',
    () => Promise.all([contentDigest(a.postgres), contentDigest(b.postgres)]),
    ([x, y]) => x === y,
    ms,
  );
  return digest;
}
