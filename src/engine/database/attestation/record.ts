/** What attestation writes at the origin: the peer's word, and the event that raises a deposit. */
import type { Sql } from 'postgres';
import { durableEventId } from '../../../core/deposit.ts';
import type { DepositId } from '../../../core/ids.ts';
import { uuidArray } from '../catalogue/database-error.ts';
import type { ReceivedMark } from './wire.ts';

export interface AttestationRecord {
  readonly site: string;
  readonly at: string;
  readonly storeId: string;
  readonly statement: string;
  /** Base64. */
  readonly signature: string;
  /** Answered in time: the mark alone. */
  readonly inTime: readonly DepositId[];
  /** Answered `local` before: the mark, and the event that raises it, in one transaction. */
  readonly late: readonly { readonly id: DepositId; readonly received: ReceivedMark | null }[];
}

/**
 * Records the peer's word, flushed; resolves to the number of events written. A late deposit's event
 * copies the winning `received` event of those here and the one the peer knows (a deposit that both
 * have is taken no more, so there can be no other), and only the winner's site writes it.
 * Crash before the commit: nothing stands, and the deposit is asked for again.
 */
export async function recordAttested(sql: Sql, record: AttestationRecord): Promise<number> {
  const ids = [...record.inTime, ...record.late.map((each) => each.id)];
  const late = record.late.map(({ id, received }) => ({
    deposit_id: id,
    event_id: durableEventId(id),
    peer_id: received?.id ?? null,
    peer_counter: received?.counter ?? null,
    peer_site: received?.site ?? null,
    peer_at: received?.at ?? null,
  }));
  const rows = await sql<{ raised: string }[]>`
    WITH marked AS (
      INSERT INTO node.attestations AS a (deposit_id, attested_at, store_id, statement, signature)
      SELECT id, ${record.at}::text::timestamptz, ${record.storeId}, ${record.statement},
        decode(${record.signature}, 'base64')
      FROM unnest(${uuidArray(ids)}::text::uuid[]) AS id ORDER BY id
      ON CONFLICT (deposit_id) DO UPDATE SET attested_at = excluded.attested_at,
        store_id = excluded.store_id, statement = excluded.statement, signature = excluded.signature
        WHERE a.attested_at IS NULL
      RETURNING deposit_id
    ), late AS (
      SELECT j.* FROM json_to_recordset(${JSON.stringify(late)}::text::json) AS j(deposit_id uuid,
        event_id uuid, peer_id uuid, peer_counter bigint, peer_site text, peer_at timestamptz)
      JOIN marked USING (deposit_id)
    ), candidates AS (
      SELECT l.deposit_id, e.id, e.counter, e.site, e.at FROM late l
        JOIN twinsite.events e ON e.entity = 'deposit/' || l.deposit_id AND e.kind = 'received'
      UNION
      SELECT deposit_id, peer_id, peer_counter, peer_site, peer_at FROM late
        WHERE peer_id IS NOT NULL
    ), winner AS (
      SELECT DISTINCT ON (deposit_id) * FROM candidates
      ORDER BY deposit_id, counter, site COLLATE "C", id
    ), raised AS (
      INSERT INTO twinsite.events (id, entity, counter, site, at, kind, body)
      SELECT l.event_id, 'deposit/' || l.deposit_id, w.counter, w.site, w.at, 'durable', '{}'
      FROM winner w JOIN late l USING (deposit_id) WHERE w.site = ${record.site}
      ON CONFLICT (id) DO NOTHING RETURNING id
    )
    SELECT (SELECT count(*) FROM raised) AS raised, set_config('synchronous_commit', 'on', true)`;
  return Number(rows[0]?.raised ?? 0);
}
