/** The rows of deposits as they are visible, and so flushed, here: what a site can vouch for. */
import type { Sql } from 'postgres';
import { z } from 'zod';
import type { DepositFileRow, DepositRow, EventRow } from '../../../core/deposit.ts';
import type { AccountName, DepositId, SiteName } from '../../../core/ids.ts';
import { uuidArray } from '../catalogue/database-error.ts';
import { depositSchema, FILE_JSON, timeText, toFileRow } from '../catalogue/rows.ts';

export interface VisibleDeposit {
  readonly deposit: DepositRow;
  readonly files: readonly DepositFileRow[];
  readonly received: Pick<EventRow, 'id' | 'counter' | 'site' | 'at'> | null;
}

const rowSchema = depositSchema.extend({
  files: z.array(z.unknown()),
  received: z
    .object({ id: z.string(), counter: z.number(), site: z.string(), at: z.string() })
    .nullable(),
});

/**
 * Complete deposits among `ids`. Nothing at all while any table's first copy is under way: then the
 * rows that are here say nothing about those beside them.
 */
export async function readVisible(
  sql: Sql,
  ids: readonly DepositId[],
): Promise<readonly VisibleDeposit[]> {
  const rows = await sql`
    SELECT d.id, d.collection, d.depositor, d.on_behalf_of AS "onBehalfOf", d.title, d.packaging,
      d.file_count AS "fileCount", encode(d.request_digest, 'hex') AS "requestDigest",
      encode(d.key_digest, 'hex') AS "keyDigest",
      (SELECT coalesce(json_agg(${sql.unsafe(FILE_JSON)}), '[]') FROM twinsite.deposit_files f
        WHERE f.deposit_id = d.id) AS files,
      (SELECT json_build_object('id', e.id, 'counter', e.counter, 'site', e.site,
          'at', ${sql.unsafe(timeText('e.at'))})
        FROM twinsite.events e WHERE e.entity = 'deposit/' || d.id AND e.kind = 'received'
        ORDER BY e.counter, e.site COLLATE "C", e.id LIMIT 1) AS received
    FROM twinsite.deposits d
    WHERE d.id = ANY(${uuidArray(ids)}::text::uuid[])
      AND (SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel)`;
  const visible: VisibleDeposit[] = [];
  for (const row of rows) {
    const { files: fileValues, received, ...deposit } = rowSchema.parse(row);
    const files = fileValues.map(toFileRow);
    if (files.length !== deposit.fileCount) continue;
    visible.push({
      deposit: {
        ...deposit,
        id: deposit.id as DepositId,
        collection: deposit.collection as AccountName,
        depositor: deposit.depositor as AccountName,
      },
      files,
      received: received === null ? null : { ...received, site: received.site as SiteName },
    });
  }
  return visible;
}
