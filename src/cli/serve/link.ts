/** The link to the peer and what is remembered of it; nulls when the site runs alone. */
import { randomUUID } from 'node:crypto';
import type { PairIdentity } from '../../core/identity.ts';
import type { PeerLink } from '../../core/ports.ts';
import { openPairMemory, type PairMemory } from '../../failover/pair-memory.ts';
import { createPeerLink } from '../../link/peer-link.ts';
import { nextStartCounter } from '../../link/start-counter.ts';
import type { Ground } from './site.ts';

export interface LinkPart {
  /** Null without an identity. */
  readonly pair: { readonly identity: PairIdentity; readonly link: PeerLink } | null;
  readonly memory: PairMemory;
  readonly startCounter: number;
}

export async function openLink(ground: Ground): Promise<LinkPart> {
  const { config, identity, names, tiers, clock, log } = ground;
  const startCounter = await nextStartCounter(config.dataDir);
  const memory = await openPairMemory(config.dataDir, log);
  if (identity === null) return { pair: null, memory, startCounter };
  const { link, service } = createPeerLink({
    ...ground,
    identity,
    listen: config.peerListen,
    dataDir: config.dataDir,
    startCounter,
    instanceId: randomUUID(),
    clock,
    ...(names.peerUrl === null ? {} : { peerUrl: names.peerUrl }),
  });
  memory.answerOn(link);
  tiers.start('link', service);
  return { pair: { identity, link }, memory, startCounter };
}
