/** The engines: rows, deposits' bytes, attestation, applications' files. */
import type { Attestor, DepositBytes, EngineFacts, SiteView } from '../../core/ports.ts';
import type { DatabaseStatus, FilesStatus } from '../../core/status.ts';
import { createAttestor } from '../../engine/database/attestation/attestor.ts';
import { createVoucher } from '../../engine/database/attestation/voucher.ts';
import {
  createCatalogue,
  type DatabaseCatalogue,
} from '../../engine/database/catalogue/catalogue.ts';
import { unknownHealth } from '../../engine/database/replication/health.ts';
import {
  createReplication,
  type Replication,
} from '../../engine/database/replication/replication.ts';
import { createDepositBytes } from '../../engine/files/deposits/deposit-bytes.ts';
import { createFileEngine, type FileEngine } from '../../engine/files/file-engine.ts';
import type { DatabasePart } from './database.ts';
import type { LinkPart } from './link.ts';
import { attestNobody } from './lone-site.ts';
import { shareRatio } from './share.ts';
import type { Ground } from './site.ts';
import type { StoresPart } from './stores.ts';

export interface EnginesPart {
  readonly catalogue: DatabaseCatalogue;
  readonly bytes: DepositBytes;
  readonly attestor: Attestor;
  readonly files: FileEngine;
  /** Every row of the peer's is here, as far as this site knows; true for a site without a peer. */
  caughtUp(): boolean;
  /** Without the load, which the listeners know. */
  facts(): EngineFacts;
  databaseStatus(): DatabaseStatus;
  filesStatus(): FilesStatus;
  /** From then on the engines know what the site's state is. */
  connect(failover: { view(): SiteView }): void;
}

interface Parts {
  readonly link: LinkPart;
  readonly database: DatabasePart;
  readonly stores: StoresPart;
}

/** What the engines ask of failover, which is made after them. */
interface Late {
  view: (() => SiteView) | null;
}

function openBytes(ground: Ground, parts: Parts, catalogue: DatabaseCatalogue, late: Late) {
  const { config } = ground;
  return createDepositBytes({
    ...ground,
    dataDir: config.dataDir,
    store: parts.stores.own,
    link: parts.link.pair?.link ?? null,
    needs: catalogue.needs,
    degradeAfterMs: config.timers.degradeAfterMs,
    minFreeRatio: shareRatio(config.minFree, parts.stores.own.status().totalBytes),
    // A suspect peer may only be slow; the upload itself finds out within the degrade deadline.
    peerAlive: () => ['alive', 'suspect'].includes(late.view?.().verdict ?? 'unknown'),
  });
}

function openFiles(
  ground: Ground,
  parts: Parts,
  late: Late,
  deposits: () => { readonly unclaimed: number; readonly rowsWithoutBytes: number },
): FileEngine {
  const { config, names } = ground;
  const { pair } = parts.link;
  return createFileEngine({
    ...ground,
    random: Math.random,
    dataDir: config.dataDir,
    store: parts.stores.own,
    link: pair?.link ?? null,
    pairSecret: pair?.identity.pairSecret ?? '',
    site: names.site,
    writerEpoch: () => {
      const view = late.view?.();
      const epoch = view?.epoch ?? { number: 0, site: names.site };
      return { ...epoch, holderBit: view?.holder === names.site };
    },
    settleMs: config.settleMs,
    ignore: config.ignore,
    massDelete: config.massDelete,
    trash: {
      days: config.trashDays,
      maxRatio: shareRatio(config.trashMax, parts.stores.own.status().totalBytes),
    },
    owners: config.owners,
    deposits,
  });
}

/** Replication both ways and the peer's word; null for a site that runs alone. */
function openPairing(
  ground: Ground,
  parts: Parts,
  catalogue: DatabaseCatalogue,
  bytes: DepositBytes,
): { readonly replication: Replication; readonly attestor: Attestor } | null {
  const { config, tiers, names } = ground;
  const { database, stores } = parts;
  const { pair } = parts.link;
  if (pair === null) return null;
  const { link, identity } = pair;
  const shared = { ...ground, pools: database.pools, link, identity, catalogue };
  const replication = createReplication({
    ...shared,
    dataDir: config.dataDir,
    endpoint: database.endpoint,
    site: names.site,
    peer: identity.peer,
  });
  const attestor = createAttestor({ ...shared, ownStoreId: () => stores.own.id || null });
  createVoucher({
    ...shared,
    bytes,
    store: stores.own,
    replicationAllReady: () => replication.allReady(),
  });
  tiers.start('engines', ...[replication.service, attestor.service].map(database.afterSchema));
  return { replication, attestor };
}

export function openEngines(ground: Ground, parts: Parts): EnginesPart {
  const { names, tiers } = ground;
  const { database, stores } = parts;
  const late: Late = { view: null };
  const catalogue = createCatalogue({ ...ground, pools: database.pools, site: names.site });
  const bytes = openBytes(ground, parts, catalogue, late);
  const files = openFiles(ground, parts, late, () => ({
    unclaimed: bytes.unclaimed(),
    rowsWithoutBytes: bytes.rowsWithoutBytes(),
  }));
  tiers.start('engines', ...files.services);
  tiers.start('engines', ...[catalogue.service, ...bytes.services].map(database.afterSchema));
  const pairing = openPairing(ground, parts, catalogue, bytes);
  return {
    catalogue,
    bytes,
    attestor: pairing?.attestor ?? attestNobody,
    files,
    caughtUp: () => pairing?.replication.isStreaming() ?? true,
    facts: () => {
      const { root, seq, drained } = files.facts();
      return {
        fileRoot: root,
        fileSeq: seq,
        filesDrained: drained,
        databaseStreaming: pairing?.replication.isStreaming() ?? false,
        storeHealth: stores.own.health(),
        storeId: stores.own.id || null,
        load: 0,
      };
    },
    databaseStatus: () =>
      pairing
        ? { ...pairing.replication.status(), postgres: database.version() }
        : unknownHealth(database.version()).status,
    filesStatus: () => files.status(),
    connect: (failover) => {
      late.view = () => failover.view();
    },
  };
}
