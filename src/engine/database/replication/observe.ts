/** What is there now: one statement that reads everything this part decides on. */
import type { Sql } from 'postgres';
import { z } from 'zod';
import type { SiteName } from '../../../core/ids.ts';
import { PUBLICATION, slotNameOf, subscriptionName } from './names.ts';

const identity = z.object({ systemId: z.string().max(40), incarnation: z.string().max(80) });

const factsOfNode = z.object({
  incarnation: z.string().default(''),
  'replication-made-for': z.object({ peer: identity, own: identity }).optional(),
  /** Newest first; told to the peer, which stores the last one it heard. */
  'replication-marks': z.array(z.string()).default([]),
  'replication-seen': identity.extend({ mark: z.string() }).optional(),
});

const observation = z.object({
  systemId: z.string(),
  lsn: z.string(),
  version: z.string(),
  schema: z.string(),
  facts: factsOfNode,
  publicationRight: z.boolean().nullable(),
  publishedTables: z.array(z.string()),
  subscription: z
    .object({
      enabled: z.boolean(),
      slotName: z.string().nullable(),
      publications: z.array(z.string()),
      connection: z.string(),
      settings: z.string(),
      relations: z.record(z.string(), z.string()),
      originLsn: z.string().nullable(),
      errors: z.number(),
      worker: z
        .object({ silentMs: z.number().nullable(), receivedLsn: z.string().nullable() })
        .nullable(),
    })
    .nullable(),
  leftoverOrigins: z.array(z.string()),
  /** The peer's slot here. */
  slot: z
    .object({
      active: z.boolean(),
      lost: z.boolean(),
      keptBytes: z.number(),
      safeBytes: z.number().nullable(),
      lagBytes: z.number(),
      sender: z.string().nullable(),
      lagMs: z.number(),
    })
    .nullable(),
  divergentRows: z.number(),
  roleTimeout: z.boolean(),
  keepLimitBytes: z.number(),
});

export type Observation = z.infer<typeof observation>;

/** Columns that make two databases able to apply each other's rows. */
const SCHEMA_FINGERPRINT = `(SELECT coalesce(md5(string_agg(concat_ws(' ', c.relname, a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull), ',' ORDER BY c.relname COLLATE "C", a.attname COLLATE "C")), '')
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE c.relnamespace = 'twinsite'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
    AND NOT a.attisdropped)`;

const PUBLICATION_RIGHT = `(SELECT p.pubinsert AND NOT (p.pubupdate OR p.pubdelete OR p.pubtruncate
    OR p.puballtables OR EXISTS (SELECT FROM pg_publication_rel WHERE prpubid = p.oid))
    AND (SELECT array_agg(pnnspid) FROM pg_publication_namespace WHERE pnpubid = p.oid)
      = ARRAY['twinsite'::regnamespace::oid]
  FROM pg_publication p WHERE p.pubname = $1)`;

const SUBSCRIPTION = `(SELECT json_build_object('enabled', s.subenabled, 'slotName', s.subslotname,
    'publications', to_json(s.subpublications), 'connection', s.subconninfo,
    'settings', concat_ws(' ', s.suborigin, s.subsynccommit, s.substream, s.subbinary, s.subdisableonerr),
    'relations', (SELECT coalesce(json_object_agg(c.relname, r.srsubstate), '{}')
      FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid WHERE r.srsubid = s.oid),
    'originLsn', (SELECT o.remote_lsn::text FROM pg_replication_origin_status o
      WHERE o.external_id = 'pg_' || s.oid),
    'errors', (SELECT coalesce(sum(e.apply_error_count + e.sync_error_count), 0)
      FROM pg_stat_subscription_stats e WHERE e.subid = s.oid),
    'worker', (SELECT json_build_object('receivedLsn', w.received_lsn::text, 'silentMs',
        extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)
      FROM pg_stat_subscription w
      WHERE w.subid = s.oid AND w.pid IS NOT NULL AND w.relid IS NULL AND w.leader_pid IS NULL LIMIT 1))
  FROM pg_subscription s
  WHERE s.subname = $2 AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))`;

const SLOT = `(SELECT json_build_object('active', s.active,
    'lost', s.wal_status = 'lost' OR s.restart_lsn IS NULL,
    'keptBytes', greatest(0, coalesce(pg_current_wal_lsn() - s.restart_lsn, 0)),
    'safeBytes', s.safe_wal_size,
    'lagBytes', greatest(0, coalesce(pg_current_wal_flush_lsn() - s.confirmed_flush_lsn, 0)),
    'sender', r.state,
    'lagMs', coalesce(extract(epoch FROM r.flush_lag) * 1000, 0))
  FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
  WHERE s.slot_name = $3)`;

const ORIGINS = `(SELECT coalesce(json_agg(o.roname), '[]') FROM pg_replication_origin o
  WHERE o.roname ~ '^pg_[0-9]+(_[0-9]+)?$' AND NOT EXISTS (SELECT FROM pg_subscription s
    WHERE s.oid::text = split_part(o.roname, '_', 2)))`;

const STATEMENT = `SELECT json_build_object(
  'systemId', (SELECT system_identifier::text FROM pg_control_system()),
  'lsn', pg_current_wal_flush_lsn()::text,
  'version', current_setting('server_version'),
  'schema', ${SCHEMA_FINGERPRINT},
  'facts', (SELECT coalesce(json_object_agg(name, value), '{}') FROM node.facts
    WHERE name = 'incarnation' OR name LIKE 'replication-%'),
  'publicationRight', ${PUBLICATION_RIGHT},
  'publishedTables', (SELECT coalesce(json_agg(tablename ORDER BY tablename), '[]')
    FROM pg_publication_tables WHERE pubname = $1),
  'subscription', ${SUBSCRIPTION},
  'leftoverOrigins', ${ORIGINS},
  'slot', ${SLOT},
  'divergentRows', (SELECT count(*) FROM (SELECT FROM node.divergent_rows LIMIT 1000) d),
  'roleTimeout', (SELECT coalesce('lock_timeout=10s' = ANY(rolconfig), false)
    FROM pg_roles WHERE rolname = 'twinsite_replication'),
  'keepLimitBytes', (SELECT CASE WHEN setting::bigint < 0 THEN 0 ELSE setting::bigint * 1048576 END
    FROM pg_settings WHERE name = 'max_slot_wal_keep_size')) AS seen`;

/** Reads it all. `admin` is a superuser's connection. */
export async function observe(admin: Sql, peer: SiteName): Promise<Observation> {
  const names = [PUBLICATION, subscriptionName(peer), slotNameOf(peer)];
  const rows = await admin.unsafe<{ seen: unknown }[]>(STATEMENT, names, { prepare: true });
  return observation.parse(rows[0]?.seen);
}

/** pg_subscription's settings, as observe() spells them, that this part asks for. */
export const WANTED_SETTINGS = 'none local f f f';
