/** Receipts as they are now: evidence is looked at, and completed where that is cheap, at each reading. */
import type { DepositFileRow } from '../../core/deposit.ts';
import type { DepositId, SiteName } from '../../core/ids.ts';
import type { Catalogue, Clock, DepositBytes } from '../../core/ports.ts';
import { durabilityOf, makeReceipt, type Receipt, wasReceivedBy } from '../../core/receipt.ts';
import { within } from '../deadline.ts';
import type { Located } from './lookup.ts';

export interface Receipts {
  of(located: Located): Promise<Receipt>;
  /** The record with the evidence that can be had now: are its bytes here? */
  complete(located: Located): Promise<Located>;
  /** The same, when `sameContentAs` is known already. */
  make(located: Located, sameContentAs: readonly DepositId[]): Receipt;
  /** This depositor's other deposits with the same content. */
  sameContent(located: Located): Promise<readonly DepositId[]>;
}

export interface ReceiptsDeps {
  readonly site: SiteName;
  readonly peer: SiteName | null;
  readonly publicUrl: string | null;
  readonly catalogue: Pick<Catalogue, 'list'>;
  readonly bytes: Pick<DepositBytes, 'ensureHeld'>;
  readonly clock: Clock;
  /** How long a reading may wait for this site's own bytes to be verified. */
  readonly verifyMs: number;
}

const MAX_SAME_CONTENT = 20;
const MAX_VERIFYING = 4;

const contentKey = (files: readonly DepositFileRow[]) =>
  [...files]
    .sort((a, b) => a.ordinal - b.ordinal)
    .map((file) => file.sha256)
    .join();

/** Verifications that run, shared by all who wait for the same file; at most MAX_VERIFYING. */
function createVerifying(bytes: ReceiptsDeps['bytes']): (file: DepositFileRow) => Promise<boolean> {
  const running = new Map<string, Promise<boolean>>();
  return (file) => {
    const known = running.get(file.id);
    if (known) return known;
    if (running.size >= MAX_VERIFYING) return Promise.resolve(false);
    const work = bytes
      .ensureHeld(file)
      .catch(() => false)
      .finally(() => {
        running.delete(file.id);
      });
    running.set(file.id, work);
    return work;
  };
}

export function createReceipts(deps: ReceiptsDeps): Receipts {
  const { site, peer, publicUrl, catalogue, bytes, clock, verifyMs } = deps;
  const verify = createVerifying(bytes);

  const view = (located: Located) =>
    located.at === 'peer' && peer !== null
      ? { site: peer, peer: site, publicUrl }
      : { site, peer, publicUrl };

  /** A row that came from the peer is at both sites as soon as its bytes are here. */
  const complete = async (located: Located): Promise<Located> => {
    const { record, at } = located;
    const open =
      at === 'here' &&
      peer !== null &&
      !record.heldHere &&
      wasReceivedBy(record, peer) &&
      durabilityOf(record, { peer }) === 'local';
    if (!open) return located;
    const held = await within(
      clock,
      verifyMs,
      Promise.all(record.files.map(verify)).then((all) => all.every(Boolean)),
      () => false,
    );
    return held ? { at, record: { ...record, heldHere: true } } : located;
  };
  const receipts: Receipts = {
    complete,
    make: (located, sameContentAs) =>
      makeReceipt(located.record, { ...view(located), sameContentAs }),
    async sameContent({ record }) {
      const digest = record.files[0]?.sha256;
      if (digest === undefined) return [];
      const { items } = await catalogue.list({
        depositor: record.deposit.depositor,
        digest,
        limit: MAX_SAME_CONTENT + 1,
      });
      const content = contentKey(record.files);
      return items
        .filter(
          (item) => item.deposit.id !== record.deposit.id && contentKey(item.files) === content,
        )
        .map((item) => item.deposit.id)
        .slice(0, MAX_SAME_CONTENT);
    },
    async of(located) {
      const [now, same] = await Promise.all([complete(located), receipts.sameContent(located)]);
      return receipts.make(now, same);
    },
  };
  return receipts;
}
