/** Builds one site out of its parts and starts them; `serve.ts` keeps it running and stops it. */
import { chmod } from 'node:fs/promises';
import type { PairIdentity } from '../../core/identity.ts';
import type { Log, SiteControl } from '../../core/ports.ts';
import { createAlarms } from '../../platform/alarms.ts';
import { rfc3339, systemClock } from '../../platform/clock.ts';
import { createMetrics } from '../../platform/metrics.ts';
import type { Config, SiteNames } from '../../platform/settings/config.ts';
import type { ServiceManager } from '../../platform/systemd.ts';
import { openDatabase } from './database.ts';
import { openEngines } from './engines.ts';
import { openFailover } from './failover.ts';
import { openLink } from './link.ts';
import { openRequests } from './requests.ts';
import { openStores } from './stores.ts';
import type { Tiers } from './tiers.ts';

export interface SiteOptions {
  readonly config: Config;
  readonly identity: PairIdentity | null;
  readonly names: SiteNames;
  readonly log: Log;
  readonly tiers: Tiers;
  readonly manager: ServiceManager;
  readonly random: (bytes: number) => Uint8Array;
}

/** What every part is made of. */
export interface Ground extends SiteOptions {
  readonly clock: typeof systemClock;
  readonly alarms: ReturnType<typeof createAlarms>;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly startedAt: string;
}

export interface Site {
  readonly control: SiteControl;
  close(): Promise<void>;
}

/**
 * The order matters only where one part must not act before another: the link answers before the store
 * is opened (the peer may know which store is this site's), and the link to the filestore is put right
 * before anything else takes time.
 */
export async function openSite(options: SiteOptions): Promise<Site> {
  const clock = systemClock;
  const { log, tiers, manager, config } = options;
  const ground: Ground = {
    ...options,
    clock,
    alarms: createAlarms(clock, log),
    metrics: createMetrics(),
    startedAt: rfc3339(clock.wallMs()),
  };
  log.info('serve.start', { data: config.dataDir, store: config.storeDir });
  // PostgreSQL, under a user of its own when this process is root, must pass through.
  if (process.getuid?.() === 0) await chmod(config.dataDir, 0o711);
  const link = await openLink(ground);
  const database = openDatabase(ground);
  const stores = await openStores(ground, link);
  const engines = openEngines(ground, { link, database, stores });
  const failover = openFailover(ground, { link, stores, engines, database });
  engines.connect(failover);
  stores.connect(failover);
  await failover.prepare();
  const requests = await openRequests(ground, { link, stores, engines, database, failover });
  failover.connect(requests);
  if (manager.watchdog) tiers.start('requests', manager.watchdog);
  requests.whenReady(() => manager.ready(`site ${options.names.site} takes deposits`));
  return {
    control: failover.control,
    close: async () => {
      await database.close();
      await stores.close();
    },
  };
}
