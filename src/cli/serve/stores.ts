/** This site's own store, and in T1 the peer's as mounted here. */
import type { GuardedStore } from '../../core/store-guard.ts';
import { openOwnStore } from '../../engine/files/store/own-store.ts';
import { openPeerStore, type PeerStore } from '../../engine/files/store/peer-store.ts';
import { recallStore } from '../../engine/files/store/store-memory.ts';
import type { Failover } from '../../failover/failover.ts';
import type { LinkPart } from './link.ts';
import type { Ground } from './site.ts';

export interface StoresPart {
  readonly own: GuardedStore;
  readonly peer: PeerStore | null;
  /** From then on the peer's heartbeats say which store it has. */
  connect(failover: Pick<Failover, 'announcedPeerStoreId'>): void;
  close(): Promise<void>;
}

/** A peer that is up answers at once; a lone first start need not wait for long. */
const ASK_PEER_MS = 3_000;

export async function openStores(ground: Ground, part: LinkPart): Promise<StoresPart> {
  const { config, identity, names, clock, log, tiers, alarms } = ground;
  const { memory } = part;
  let announced: () => string | null = () => null;
  const peerStoreId = (): string | null => announced() ?? memory.peerStoreId();
  // A site that never had a store may have lost its --data: the peer is asked before one is made.
  if (part.pair !== null && (await recallStore(config.dataDir)) === null) {
    await memory.askPeer(part.pair.link, clock, ASK_PEER_MS, tiers.signal('link'));
  }
  const own = await openOwnStore({
    root: config.storeDir,
    dataDir: config.dataDir,
    identity: identity === null ? null : { pairId: identity.pairId, site: identity.site },
    site: names.site,
    peerKnowsStoreId: () => memory.peerKnowsOwnStore(),
    peerStoreId,
    clock,
    log,
    alarms,
  });
  tiers.start('link', own.service);
  let peer: PeerStore | null = null;
  if (config.peerStoreDir !== null && identity !== null) {
    peer = await openPeerStore({
      root: config.peerStoreDir,
      pairId: identity.pairId,
      peer: identity.peer,
      peerStoreId,
      own: () => own.place(),
      clock,
      log,
    });
    tiers.start('link', peer.service);
  }
  return {
    own,
    peer,
    connect: (failover) => {
      announced = () => failover.announcedPeerStoreId();
    },
    close: async () => {
      await own.close();
      await peer?.close();
    },
  };
}
