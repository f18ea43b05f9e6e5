/** The status document, put together from what each part says about itself. */
import type { Alarms, SiteView } from '../../core/ports.ts';
import type { Readiness } from '../../core/readiness.ts';
import type {
  DatabaseStatus,
  FilesStatus,
  PeerStatus,
  StatusDocument,
  StoreStatus,
} from '../../core/status.ts';
import { PROTOCOL, VERSION } from '../../core/version.ts';

/** Each answers from memory, at once: a status is asked for most when something hangs. */
export interface StatusSources {
  readonly site: string;
  readonly peerSite: string | null;
  /** RFC 3339. */
  readonly startedAt: string;
  view(): SiteView;
  readiness(): Readiness;
  load(): number;
  filestore(): StatusDocument['filestore'];
  store(): StoreStatus;
  peerStore(): StoreStatus | null;
  peer(): PeerStatus | null;
  files(): FilesStatus;
  database(): DatabaseStatus;
  readonly alarms: Pick<Alarms, 'list'>;
}

/** The document as it is now, with the fields in the contract's order. */
export function assembleStatus(sources: StatusSources): StatusDocument {
  const view = sources.view();
  const readiness = sources.readiness();
  return {
    site: sources.site,
    peerSite: sources.peerSite,
    state: view.state,
    epoch: view.epoch?.number ?? 0,
    holder: view.holder,
    since: view.since,
    startedAt: sources.startedAt,
    version: VERSION,
    protocol: PROTOCOL,
    ready: readiness.ready,
    readyRead: readiness.readyRead,
    mayBeStale: view.mayBeStale,
    durability: readiness.durability,
    load: Math.round(Math.min(1, Math.max(0, sources.load())) * 1000) / 1000,
    filestore: sources.filestore(),
    store: sources.store(),
    peerStore: sources.peerStore(),
    peer: sources.peer(),
    files: sources.files(),
    database: sources.database(),
    alarms: sources.alarms.list(),
  };
}
