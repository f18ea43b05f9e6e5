/** The database as the deposit server sees it. */
import type { DepositFileRow, DepositRecord, DepositRow } from '../../../core/deposit.ts';
import type { DepositId, SiteName } from '../../../core/ids.ts';
import type { Catalogue, Clock, Log } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { DatabasePools } from '../connections.ts';
import { commitDeposit } from './commit.ts';
import { createEventWriter, readEvents } from './events.ts';
import { createListener } from './listener.ts';
import { createNeedList, type StoredNeedList } from './need-list.ts';
import { readByKey, readPage, readRecords } from './read.ts';
import { createVouchedLog, type VouchedLog } from './vouched.ts';

/** Deposits committed here lately whose rows the attestor need not read back. */
const RECENT_MAX = 1_024;
const DEADLINE_MS = 10_000;
const DRAIN_WITHIN_MS = 2_000;

export interface RecentDeposit {
  readonly deposit: DepositRow;
  readonly files: readonly DepositFileRow[];
  readonly committedAtMs: number;
}

export interface CatalogueOptions {
  readonly pools: Pick<DatabasePools, 'service'>;
  readonly site: SiteName;
  readonly clock: Clock;
  readonly log: Log;
  /** The longest that any call waits for the database; 10 s unless told. */
  readonly deadlineMs?: number;
}

export interface DatabaseCatalogue extends Catalogue {
  readonly needs: StoredNeedList;
  /** The complete records among these ids, in no order. */
  records(ids: readonly DepositId[]): Promise<readonly DepositRecord[]>;
  /** A deposit committed by this process lately; monotonic time. */
  recent(id: DepositId): RecentDeposit | null;
  /** What this site vouched for to its peer. */
  readonly vouched: VouchedLog;
  /** For parts that wrote events themselves: tells this process's watchers. */
  touched(entityKind: string): void;
  /** Listens for what arrives; without it running, only own writes are told. */
  readonly service: Service;
}

/** Every call ends within the deadline; errors are `database-down`, or `internal` for what should not happen. */
export function createCatalogue(options: CatalogueOptions): DatabaseCatalogue {
  const { pools, site, clock, log } = options;
  const sql = pools.service;
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const vouched = createVouchedLog({ sql, clock, log, deadlineMs });
  /** What was vouched for a moment ago counts before it is written. */
  const overlay = (record: DepositRecord): DepositRecord => {
    const at = vouched.unwritten(record.deposit.id);
    if (at === null) return record;
    return { ...record, vouchedAt: record.vouchedAt ?? at, heldHere: true };
  };
  const reading = { sql, clock, deadlineMs, overlay };
  const events = { sql, site, clock, deadlineMs };
  const writeEvents = createEventWriter(events);
  const listener = createListener(sql, ['twinsite_event', 'twinsite_arrival']);
  const touched = (entityKind: string) => listener.local('twinsite_event', entityKind);
  const recent = new Map<DepositId, RecentDeposit>();

  return {
    async commit(deposit) {
      const outcome = await commitDeposit(sql, deposit, { clock, log, deadlineMs });
      if (outcome.outcome === 'existed') return outcome;
      const { id } = deposit.deposit;
      recent.set(id, { ...deposit, committedAtMs: clock.monotonicMs() });
      for (const oldest of recent.keys()) {
        if (recent.size <= RECENT_MAX) break;
        recent.delete(oldest);
      }
      touched('deposit');
      return outcome;
    },
    find: async (id) => (await readRecords(reading, [id]))[0] ?? null,
    findByKey: (keyDigest) => readByKey(reading, keyDigest),
    list: (query) => readPage(reading, query),
    async append(entity, drafts) {
      const rows = await writeEvents(entity, drafts);
      touched(entity.split('/', 1)[0] ?? entity);
      return rows;
    },
    watch: (entityKind, callback) =>
      listener.on('twinsite_event', (payload) => {
        if (payload === null || payload === entityKind) callback();
      }),
    events: (prefix) => readEvents(events, prefix),
    needs: createNeedList({
      ...reading,
      onArrival: (callback) => listener.on('twinsite_arrival', () => callback()),
    }),
    vouched,
    records: (ids) => readRecords(reading, ids),
    recent: (id) => recent.get(id) ?? null,
    touched,
    service: {
      name: listener.service.name,
      async run(context) {
        try {
          await listener.service.run(context);
        } finally {
          await vouched.drain(DRAIN_WITHIN_MS);
        }
      },
    },
  };
}
