/** The database of one site in memory: the same promises about replays, order and completeness. */
import {
  compareEvents,
  type DepositRecord,
  depositEntity,
  type EventRow,
  type NewDeposit,
} from '../../src/core/deposit.ts';
import { AppError } from '../../src/core/errors.ts';
import type { DepositId, SiteName } from '../../src/core/ids.ts';
import type { Catalogue, DepositQuery } from '../../src/core/ports.ts';

export interface MemoryCatalogue extends Catalogue {
  /** Rows as they arrive from the peer. */
  receive(rows: NewDeposit): void;
  receiveEvents(events: readonly EventRow[]): void;
  markAttested(id: DepositId, at: string): void;
  markVouched(id: DepositId, at: string): void;
  markHeld(id: DepositId): void;
  /** Runs before each commit; what it throws the commit throws. */
  beforeCommit: (rows: NewDeposit) => Promise<void>;
  /** Runs after each commit; what it throws is what a broken connection leaves. */
  afterCommit: (rows: NewDeposit) => Promise<void>;
  isDown: boolean;
  readonly depositCount: number;
}

export function createMemoryCatalogue(site: SiteName): MemoryCatalogue {
  const deposits = new Map<string, NewDeposit>();
  const events = new Map<string, EventRow>();
  const attested = new Map<string, string>();
  const vouched = new Map<string, string>();
  const held = new Set<string>();
  const watchers = new Set<{ kind: string; listener: () => void }>();
  let ticks = 0;

  const assertUp = () => {
    if (catalogue.isDown) throw new AppError('database-down', 'The database does not answer.');
  };
  const touched = (entity: string) => {
    for (const { kind, listener } of watchers) if (entity.startsWith(`${kind}/`)) listener();
  };
  const putEvents = (rows: readonly EventRow[]) => {
    for (const row of rows) if (!events.has(row.id)) events.set(row.id, row);
    for (const row of rows) touched(row.entity);
  };
  const eventsOf = (entity: string) =>
    [...events.values()].filter((event) => event.entity === entity).sort(compareEvents);
  const recordOf = (rows: NewDeposit): DepositRecord => {
    const { id } = rows.deposit;
    return {
      ...rows,
      events: eventsOf(depositEntity(id)),
      attestedByPeerAt: attested.get(id) ?? null,
      vouchedAt: vouched.get(id) ?? null,
      heldHere: held.has(id),
    };
  };
  const receivedAt = (record: DepositRecord) => record.events[0]?.at ?? '';
  const matches = (record: DepositRecord, query: DepositQuery): boolean => {
    const { deposit, files } = record;
    const { visibleTo } = query;
    return (
      (query.collection === undefined || deposit.collection === query.collection) &&
      (query.depositor === undefined || deposit.depositor === query.depositor) &&
      (query.name === undefined || files.some((file) => file.name === query.name)) &&
      (query.digest === undefined || files.some((file) => file.sha256 === query.digest)) &&
      (query.from === undefined || receivedAt(record) >= query.from) &&
      (query.until === undefined || receivedAt(record) < query.until) &&
      (query.state === undefined || query.state === 'deposited') &&
      (visibleTo === undefined ||
        deposit.depositor === visibleTo.depositor ||
        visibleTo.collections.includes(deposit.collection))
    );
  };

  const catalogue: MemoryCatalogue = {
    isDown: false,
    beforeCommit: async () => undefined,
    afterCommit: async () => undefined,
    get depositCount() {
      return deposits.size;
    },
    async commit(rows) {
      assertUp();
      await catalogue.beforeCommit(rows);
      const existed = deposits.has(rows.deposit.id);
      if (!existed) {
        deposits.set(rows.deposit.id, rows);
        held.add(rows.deposit.id);
        putEvents(rows.events);
      }
      await catalogue.afterCommit(rows);
      return { outcome: existed ? 'existed' : 'committed' };
    },
    async find(id) {
      assertUp();
      const rows = deposits.get(id);
      return rows && rows.files.length === rows.deposit.fileCount ? recordOf(rows) : null;
    },
    async findByKey(keyDigest) {
      assertUp();
      return [...deposits.values()]
        .filter(({ deposit }) => deposit.keyDigest === keyDigest)
        .map(recordOf);
    },
    async list(query) {
      assertUp();
      const all = [...deposits.values()]
        .map(recordOf)
        .filter((record) => matches(record, query))
        .reverse();
      const start = query.cursor === undefined ? 0 : Number(query.cursor);
      if (!Number.isSafeInteger(start))
        throw new AppError('bad-request', 'cursor: not one of ours');
      const end = start + query.limit;
      return { items: all.slice(start, end), next: end < all.length ? String(end) : null };
    },
    async append(entity, added) {
      assertUp();
      const before = eventsOf(entity).at(-1)?.counter ?? 0;
      const rows = added.map((event, index): EventRow => {
        ticks += 1;
        return {
          ...event,
          id: `${site}-${ticks}`,
          entity,
          counter: before + 1 + index,
          site,
          at: '2026-01-02T03:04:05.678Z',
        };
      });
      putEvents(rows);
      return rows;
    },
    watch(kind, listener) {
      const watcher = { kind, listener };
      watchers.add(watcher);
      return () => void watchers.delete(watcher);
    },
    async events(prefix) {
      assertUp();
      return [...events.values()]
        .filter((event) => event.entity.startsWith(prefix))
        .sort((a, b) =>
          a.entity === b.entity ? compareEvents(a, b) : a.entity < b.entity ? -1 : 1,
        );
    },
    receive(rows) {
      if (!deposits.has(rows.deposit.id)) deposits.set(rows.deposit.id, rows);
      putEvents(rows.events);
    },
    receiveEvents: putEvents,
    markAttested: (id, at) => void attested.set(id, at),
    markVouched: (id, at) => void vouched.set(id, at),
    markHeld: (id) => void held.add(id),
  };
  return catalogue;
}
