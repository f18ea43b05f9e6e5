/** T1: the peer's store as mounted at this host: probed, and never indexed from here. */
import path from 'node:path';
import { AppError } from '../../../core/errors.ts';
import type { Clock, Log } from '../../../core/ports.ts';
import type { StoreStatus } from '../../../core/status.ts';
import { isUsable, type StoreMarker, type StoreProbe } from '../../../core/store-guard.ts';
import { fileSystemName, isSingleHostFileSystem } from './file-system.ts';
import { isSameHost, parseMarker, thisHost } from './marker.ts';
import { createStoreProbe, type StoreJudgement } from './probe.ts';
import type { StoreLook } from './probe-protocol.ts';

export interface PeerStoreFacts {
  readonly look: StoreLook;
  readonly pairId: string;
  readonly peer: string;
  /** What the peer announced; null before the first heartbeat ever. */
  readonly peerStoreId: string | null;
  /** This site's own store, so that both options cannot name one directory. */
  readonly own: { readonly device: string; readonly inode: string; readonly id: string } | null;
  readonly host: string;
}

export type PeerStoreVerdict =
  | { readonly ok: true; readonly marker: StoreMarker }
  /** `fatal`: going on could destroy data; it is a matter of configuration. */
  | { readonly ok: false; readonly reason: string; readonly fatal: boolean };

/** Is this mount the peer's store? Decides from one look. */
export function judgePeerStore(facts: PeerStoreFacts): PeerStoreVerdict {
  const { look, own } = facts;
  const no = (reason: string, fatal = false): PeerStoreVerdict => ({ ok: false, reason, fatal });
  if (own !== null && own.device === look.device && own.inode === look.inode) {
    return no('is the same directory as --store: each site needs a store of its own', true);
  }
  if (look.markerError !== null)
    return no(`has a marker that cannot be read (${look.markerError})`);
  const marker = look.marker === null ? null : parseMarker(look.marker);
  if (marker === null) {
    return no(
      look.marker !== null
        ? 'has a damaged marker'
        : look.sameDeviceAsRoot
          ? 'has no marker (it is on the same file system as /: perhaps it is not mounted)'
          : "has no marker: it is not the peer's store, or the peer has not opened it yet",
    );
  }
  if (marker.pair !== null && marker.pair !== facts.pairId) {
    return no(`holds store ${marker.storeId}, which belongs to another pair`);
  }
  if (own !== null && own.id === marker.storeId) {
    return no(`holds store ${marker.storeId}, which is this site's own`);
  }
  if (marker.site === null || marker.site !== facts.peer) {
    return no(
      `holds store ${marker.storeId} of ${marker.site === null ? 'no site' : `site ${marker.site}`}, not of ${facts.peer}`,
    );
  }
  if (facts.peerStoreId !== null && facts.peerStoreId !== marker.storeId) {
    return no(`holds store ${marker.storeId}; ${facts.peer} announces store ${facts.peerStoreId}`);
  }
  if (isSingleHostFileSystem(look.fileSystem) && !isSameHost(marker.host, facts.host)) {
    return no(
      `is ${fileSystemName(look.fileSystem)} and in use by host ${marker.host.split('/')[0]}: two hosts that mount it would destroy it. Use a shared file system (NFS, GFS2, OCFS2, Ceph, GPFS), or leave --peer-store out`,
      true,
    );
  }
  return { ok: true, marker };
}

export interface PeerStoreOptions {
  readonly root: string;
  readonly pairId: string;
  readonly peer: string;
  readonly peerStoreId: () => string | null;
  readonly own: () => PeerStoreFacts['own'];
  readonly clock: Clock;
  readonly log: Log;
  readonly deadlineMs?: number;
  readonly probeCommand?: readonly [string, ...string[]];
}

export interface PeerStore extends StoreProbe {
  status(): StoreStatus;
}

/**
 * Looks at the mount once and goes on. Throws AppError `config` only for a configuration that could
 * destroy data; a mount that is away, unmarked or foreign is a state and heals by itself.
 */
export async function openPeerStore(options: PeerStoreOptions): Promise<PeerStore> {
  const root = path.resolve(options.root);
  const host = await thisHost();
  let fatal: string | null = null;
  const judge = (look: StoreLook): StoreJudgement => {
    const verdict = judgePeerStore({
      look,
      pairId: options.pairId,
      peer: options.peer,
      peerStoreId: options.peerStoreId(),
      own: options.own(),
      host,
    });
    fatal = !verdict.ok && verdict.fatal ? verdict.reason : null;
    return verdict.ok ? { ok: true, storeId: verdict.marker.storeId } : verdict;
  };
  const probe = createStoreProbe({
    root,
    role: 'peer',
    judge,
    clock: options.clock,
    log: options.log,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    ...(options.probeCommand === undefined ? {} : { command: options.probeCommand }),
  });
  await probe.check();
  if (fatal !== null) {
    await probe.close();
    throw new AppError('config', `--peer-store ${root} ${fatal as string}.`);
  }
  return Object.assign(probe, {
    status: (): StoreStatus => {
      const last = probe.last();
      return {
        path: root,
        id: last?.storeId ?? null,
        health: isUsable(last) ? ('ok' as const) : ('failed' as const),
        reason: last === null ? 'it was not probed yet' : last.reason,
        freeBytes: last?.freeBytes ?? 0,
        totalBytes: last?.totalBytes ?? 0,
      };
    },
  });
}
