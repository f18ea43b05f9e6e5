/** The durable list of files that a row promises and this store is not known to hold. */
import type { PendingQuery, Row, Sql, TransactionSql } from 'postgres';
import type { DepositFileRow } from '../../../core/deposit.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Clock, NeedList } from '../../../core/ports.ts';
import { reading, uuidArray, within } from './database-error.ts';
import { FILE_JSON, toFileRow } from './rows.ts';

const MAX_ERROR_CHARS = 500;
/** Statements over every file row may take long. */
const REFILL_DEADLINE_MS = 600_000;

export interface NeedListOptions {
  readonly sql: Sql;
  readonly clock: Clock;
  readonly deadlineMs: number;
  readonly onArrival: (listener: () => void) => () => void;
}

/** NeedList, and the way to say that nothing is known to be held any more. */
export interface StoredNeedList extends NeedList {
  /** Forgets which files are held, after the store was lost or replaced; refill() must follow. */
  forgetHeld(): Promise<void>;
}

/** Marks files as held and takes them off the list. */
export async function markHeld(
  sql: Sql,
  files: readonly Pick<DepositFileRow, 'id' | 'depositId'>[],
): Promise<void> {
  const fileIds = uuidArray(files.map((file) => file.id));
  await sql`
    WITH held AS (
      INSERT INTO node.held_files (file_id, deposit_id)
      SELECT * FROM unnest(${fileIds}::text::uuid[],
        ${uuidArray(files.map((file) => file.depositId))}::text::uuid[]) AS f(file_id, deposit_id)
      ORDER BY file_id ON CONFLICT DO NOTHING
    )
    DELETE FROM node.needed_files WHERE file_id = ANY(${fileIds}::text::uuid[])`;
}

/** Every error is `database-down` or `internal`; each call ends within the deadline. */
export function createNeedList({
  sql,
  clock,
  deadlineMs,
  onArrival,
}: NeedListOptions): StoredNeedList {
  const run = <T>(query: PromiseLike<T>, what: string, ms = deadlineMs) =>
    within(query, clock, ms, what);
  const look = <T>(query: () => PromiseLike<T>, what: string) =>
    reading(query, clock, deadlineMs, what);
  const long = (statement: (tx: TransactionSql) => PendingQuery<Row[]>, what: string) => {
    const running = sql.begin(async (tx) => {
      await tx.unsafe(`SET LOCAL statement_timeout = ${REFILL_DEADLINE_MS}`);
      return await statement(tx);
    });
    return run(running, what, REFILL_DEADLINE_MS);
  };
  return {
    // Those that failed stand behind all that were tried less: one stuck file holds up nothing.
    async next(limit) {
      const rows = await look(
        () => sql<{ file: unknown }[]>`
          SELECT ${sql.unsafe(FILE_JSON)} AS file
          FROM (SELECT file_id, attempts, since FROM node.needed_files
            ORDER BY attempts, since DESC, file_id LIMIT ${limit}) n
          JOIN twinsite.deposit_files f ON f.id = n.file_id
          ORDER BY n.attempts, n.since DESC, n.file_id`,
        'next needed files',
      );
      return rows.map((row) => toFileRow(row.file));
    },
    async held(files) {
      if (files.length > 0) await run(markHeld(sql, files), 'mark files held');
    },
    async failed(file, error) {
      await run(
        sql`UPDATE node.needed_files SET attempts = attempts + 1,
          last_error = ${error.slice(0, MAX_ERROR_CHARS)} WHERE file_id = ${file.id}::text::uuid`,
        'note a failed file',
      );
    },
    async size() {
      const rows = await look(
        () => sql<{ n: string }[]>`SELECT count(*) AS n FROM node.needed_files`,
        'count needed files',
      );
      return Number(rows[0]?.n ?? 0);
    },
    async refill() {
      const result = await long(
        (tx) => tx`INSERT INTO node.needed_files (file_id, deposit_id)
          SELECT f.id, f.deposit_id FROM twinsite.deposit_files f
          WHERE NOT EXISTS (SELECT FROM node.held_files h WHERE h.file_id = f.id)
          ON CONFLICT DO NOTHING`,
        'refill the need list',
      );
      return result.count;
    },
    async known(ids) {
      if (ids.length === 0) return new Set();
      const rows = await look(
        () => sql<{ id: DepositId }[]>`
          SELECT d.id FROM twinsite.deposits d
          WHERE d.id = ANY(${uuidArray(ids)}::text::uuid[]) AND d.file_count =
            (SELECT count(*) FROM twinsite.deposit_files f WHERE f.deposit_id = d.id)`,
        'known deposits',
      );
      return new Set(rows.map((row) => row.id));
    },
    onArrival,
    async forgetHeld() {
      await long((tx) => tx`DELETE FROM node.held_files`, 'forget held files');
    },
  };
}
