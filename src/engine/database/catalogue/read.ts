/** Reading deposits: by id, by key, and in pages, newest first. */
import type { Sql } from 'postgres';
import { z } from 'zod';
import type { DepositRecord } from '../../../core/deposit.ts';
import { AppError } from '../../../core/errors.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Clock, DepositQuery } from '../../../core/ports.ts';
import { reading, uuidArray } from './database-error.ts';
import { type RecordJsonRow, recordJson, timeText, toRecord } from './rows.ts';

export interface ReadOptions {
  readonly sql: Sql;
  readonly clock: Clock;
  readonly deadlineMs: number;
  /** What this process knows beyond the database. */
  readonly overlay: (record: DepositRecord) => DepositRecord;
}

const MAX_PAGE = 200;
const cursorSchema = z.tuple([z.iso.datetime(), z.uuid()]);

function complete(
  rows: readonly RecordJsonRow[],
  overlay: ReadOptions['overlay'],
): DepositRecord[] {
  return rows
    .map((row) => toRecord(row.record))
    .filter((record) => record !== null)
    .map(overlay);
}

/** The complete records among these ids, in no order. */
export async function readRecords(
  { sql, clock, deadlineMs, overlay }: ReadOptions,
  ids: readonly DepositId[],
): Promise<DepositRecord[]> {
  if (ids.length === 0) return [];
  const query = () => sql<RecordJsonRow[]>`
    SELECT ${recordJson(sql)} FROM twinsite.deposits d
    WHERE d.id = ANY(${uuidArray(ids)}::text::uuid[])`;
  return complete(await reading(query, clock, deadlineMs, 'find deposit'), overlay);
}

/** Complete deposits taken under a key, oldest id first. */
export async function readByKey(
  { sql, clock, deadlineMs, overlay }: ReadOptions,
  keyDigest: string,
): Promise<DepositRecord[]> {
  const query = () => sql<RecordJsonRow[]>`
    SELECT ${recordJson(sql)} FROM twinsite.deposits d
    WHERE d.key_digest = decode(${keyDigest}, 'hex') ORDER BY d.id`;
  return complete(await reading(query, clock, deadlineMs, 'find by key'), overlay);
}

function parseCursor(text: string): readonly [string, string] {
  try {
    return cursorSchema.parse(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')));
  } catch (error) {
    throw new AppError('bad-request', 'The cursor is not one that this service gave out.', {
      cause: error,
    });
  }
}

/**
 * The filters, each absent or present as a parameter: one prepared statement for all of them.
 * A deposit stands where its winning `received` event stands: the first by (counter, site, id).
 */
function pageStatement(sql: Sql, query: DepositQuery, limit: number) {
  const [afterAt, afterId] = query.cursor === undefined ? [null, null] : parseCursor(query.cursor);
  const seen = query.visibleTo;
  const when = (present: unknown, condition: ReturnType<typeof sql>) =>
    present === undefined || present === null ? sql`` : condition;
  return sql<(RecordJsonRow & { at: string; event_id: string })[]>`
    SELECT ${recordJson(sql)}, ${sql.unsafe(timeText('r.at'))} AS at, r.id AS event_id
    FROM twinsite.events r JOIN twinsite.deposits d ON d.id = substr(r.entity, 9)::uuid
    WHERE r.kind = 'received'
      AND NOT EXISTS (SELECT FROM twinsite.events w WHERE w.entity = r.entity
        AND w.kind = 'received'
        AND (w.counter, w.site COLLATE "C", w.id) < (r.counter, r.site COLLATE "C", r.id))
      AND d.file_count = (SELECT count(*) FROM twinsite.deposit_files f WHERE f.deposit_id = d.id)
      ${when(afterAt, sql`AND (r.at, r.id) < (${afterAt}::text::timestamptz, ${afterId}::text::uuid)`)}
      ${when(query.from, sql`AND r.at >= ${query.from ?? null}::text::timestamptz`)}
      ${when(query.until, sql`AND r.at < ${query.until ?? null}::text::timestamptz`)}
      ${when(query.collection, sql`AND d.collection = ${query.collection ?? null}`)}
      ${when(query.depositor, sql`AND d.depositor = ${query.depositor ?? null}`)}
      ${when(query.name, sql`AND EXISTS (SELECT FROM twinsite.deposit_files f WHERE f.deposit_id = d.id AND f.name = ${query.name ?? null})`)}
      ${when(query.digest, sql`AND EXISTS (SELECT FROM twinsite.deposit_files f WHERE f.deposit_id = d.id AND f.sha256 = decode(${query.digest ?? null}, 'hex'))`)}
      ${when(
        seen,
        sql`AND (d.depositor = ${seen?.depositor ?? null} OR d.collection IN (
        SELECT json_array_elements_text(${JSON.stringify(seen?.collections ?? [])}::text::json)))`,
      )}
    ORDER BY r.at DESC, r.id DESC LIMIT ${limit}`;
}

/**
 * A page of complete deposits, newest first by the time they were received. `from` is inclusive,
 * `until` is not. The cursor keeps its place while deposits are added. Throws `bad-request` for a
 * cursor that is none.
 */
export async function readPage(
  { sql, clock, deadlineMs, overlay }: ReadOptions,
  query: DepositQuery,
): Promise<{ readonly items: readonly DepositRecord[]; readonly next: string | null }> {
  if (query.state !== undefined && query.state !== 'deposited') return { items: [], next: null };
  const size = Math.max(1, Math.min(MAX_PAGE, Math.trunc(query.limit)));
  const statement = () => pageStatement(sql, query, size + 1);
  const rows = await reading(statement, clock, deadlineMs, 'list deposits');
  const page = rows.slice(0, size);
  const last = page.at(-1);
  const next =
    rows.length > size && last !== undefined
      ? Buffer.from(JSON.stringify([last.at, last.event_id])).toString('base64url')
      : null;
  return { items: complete(page, overlay), next };
}
