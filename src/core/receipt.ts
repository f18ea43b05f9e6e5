/** The receipt: what a deposit's rows, events and evidence say, as one document. */
import { compareEvents, type DepositRecord, type EventRow } from './deposit.ts';
import type { DepositId, SiteName } from './ids.ts';

export interface ReceiptFile {
  readonly name: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly md5: string;
  /** Relative to the filestore. */
  readonly path: string;
  readonly href: string;
}

export interface Receipt {
  readonly id: string;
  readonly collection: string;
  readonly depositor: string;
  readonly onBehalfOf: string | null;
  readonly receivedAt: string;
  readonly receivedBy: string;
  readonly state: 'in-progress' | 'deposited' | 'withdrawn' | 'purged';
  readonly durability: 'both' | 'local';
  /** By site; null where it is not durable yet, or since when is not known here. */
  readonly durableAt: Readonly<Record<string, string | null>>;
  readonly revision: number;
  readonly title: string | null;
  readonly packaging: string | null;
  readonly files: readonly ReceiptFile[];
  readonly sameContentAs: readonly string[];
  readonly links: {
    readonly self: string;
    readonly files: string;
    readonly events: string;
    readonly sword: string;
    readonly html: string;
  };
}

export interface ReceiptView {
  /** The site whose knowledge the record is. */
  readonly site: SiteName;
  /** The other site; null while this one has none. */
  readonly peer: SiteName | null;
  /** Without a trailing slash; null makes links relative references. */
  readonly publicUrl: string | null;
  readonly sameContentAs?: readonly DepositId[];
}

function receivedEvents(record: DepositRecord): EventRow[] {
  return record.events.filter((event) => event.kind === 'received').sort(compareEvents);
}

/** Whether this site took the deposit from a client itself. */
export function wasReceivedBy(record: DepositRecord, site: SiteName): boolean {
  return record.events.some((event) => event.kind === 'received' && event.site === site);
}

/**
 * `both` is evidence about this very deposit, never a mode: the peer attested it to this site, or
 * the event says that it was at both, or it came from the peer and its verified bytes are here.
 */
export function durabilityOf(
  record: DepositRecord,
  view: { readonly peer: SiteName | null },
): 'both' | 'local' {
  if (record.attestedByPeerAt !== null) return 'both';
  if (record.events.some((event) => event.kind === 'durable')) return 'both';
  const { peer } = view;
  return peer !== null && record.heldHere && wasReceivedBy(record, peer) ? 'both' : 'local';
}

/** Where a deposit lives, for `Location` and links. */
export function depositHref(id: DepositId, publicUrl: string | null): string {
  return `${publicUrl ?? ''}/deposits/${id}`;
}

function durableAt(record: DepositRecord, view: ReceiptView): Record<string, string | null> {
  const received = (site: SiteName) =>
    receivedEvents(record).find((event) => event.site === site)?.at ?? null;
  const times: [string, string | null][] = [
    [view.site, received(view.site) ?? record.vouchedAt],
    ...(view.peer === null
      ? []
      : [[view.peer, received(view.peer) ?? record.attestedByPeerAt] as [string, string | null]]),
  ];
  // Sites in one order, so that the document reads the same at both.
  return Object.fromEntries(times.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The receipt of a complete record, with the fields in the contract's order. */
export function makeReceipt(record: DepositRecord, view: ReceiptView): Receipt {
  const { deposit } = record;
  const self = depositHref(deposit.id, view.publicUrl);
  const root = view.publicUrl ?? '';
  const winner = receivedEvents(record)[0];
  return {
    id: deposit.id,
    collection: deposit.collection,
    depositor: deposit.depositor,
    onBehalfOf: deposit.onBehalfOf,
    receivedAt: winner?.at ?? '',
    receivedBy: winner?.site ?? '',
    state: 'deposited',
    durability: durabilityOf(record, view),
    durableAt: durableAt(record, view),
    revision: 1,
    title: deposit.title,
    packaging: deposit.packaging,
    files: [...record.files]
      .sort((a, b) => a.ordinal - b.ordinal)
      .map((file) => ({
        name: file.name,
        mediaType: file.mediaType,
        sizeBytes: file.sizeBytes,
        sha256: file.sha256,
        md5: file.md5,
        path: file.path,
        href: `${self}/files/${encodeURIComponent(file.name)}`,
      })),
    sameContentAs: [...(view.sameContentAs ?? [])],
    links: {
      self,
      files: `${self}/files`,
      events: `${self}/events`,
      sword: `${root}/sword2/edit/${deposit.id}`,
      html: `${root}/ui/deposits/${deposit.id}`,
    },
  };
}
