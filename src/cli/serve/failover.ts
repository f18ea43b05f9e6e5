/** Joins failover to the parts whose facts it reads. */
import { createFailover, type Failover } from '../../failover/failover.ts';
import { rfc3339 } from '../../platform/clock.ts';
import type { DatabasePart } from './database.ts';
import type { EnginesPart } from './engines.ts';
import type { LinkPart } from './link.ts';
import type { Ground } from './site.ts';
import type { StoresPart } from './stores.ts';

export interface FailoverPart extends Failover {
  /** What failover waits for before it says that this site serves, and when it drains. */
  connect(requests: {
    isListening(): boolean;
    whenIdle(signal: AbortSignal): Promise<void>;
    load(): number;
  }): void;
}

export function openFailover(
  ground: Ground,
  parts: {
    readonly link: LinkPart;
    readonly stores: StoresPart;
    readonly engines: EnginesPart;
    readonly database: DatabasePart;
  },
): FailoverPart {
  const { config, names } = ground;
  const { link, stores, engines, database } = parts;
  let requests: Parameters<FailoverPart['connect']>[0] | null = null;
  const failover = createFailover({
    ...ground,
    site: names.site,
    peer: names.peer,
    link: link.pair?.link ?? null,
    peerUrl: names.peerUrl,
    ownStore: stores.own,
    peerStore: stores.peer,
    memory: link.memory,
    filestore: config.filestorePath,
    dataDir: config.dataDir,
    timers: config.timers,
    start: link.startCounter,
    partsUp: () => database.isUp() && (requests?.isListening() ?? false),
    facts: () => ({ ...engines.facts(), load: requests?.load() ?? 0 }),
    whenIdle: (signal) => requests?.whenIdle(signal) ?? Promise.resolve(),
    autoFailbackMs: config.autoFailbackMs,
    timeText: rfc3339,
  });
  return Object.assign(failover, {
    connect: (given: Parameters<FailoverPart['connect']>[0]) => {
      requests = given;
      ground.tiers.start('failover', failover.service);
    },
  });
}
