/**
 * The tables as drizzle knows them; the truth is migrations/*.sql, and a test compares the two. Every
 * table is in exactly one of two lists: replicated, or this site's own.
 */
import { isNull, sql } from 'drizzle-orm';
import {
  bigint,
  customType,
  index,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';

const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({
  dataType: () => 'bytea',
});
const time = (name: string) => timestamp(name, { withTimezone: true, mode: 'string' });

export const twinsiteSchema = pgSchema('twinsite');
export const nodeSchema = pgSchema('node');

export const deposits = twinsiteSchema.table(
  'deposits',
  {
    id: uuid('id').primaryKey(),
    collection: text('collection').notNull(),
    depositor: text('depositor').notNull(),
    onBehalfOf: text('on_behalf_of'),
    title: text('title'),
    packaging: text('packaging'),
    fileCount: integer('file_count').notNull(),
    requestDigest: bytea('request_digest').notNull(),
    keyDigest: bytea('key_digest'),
  },
  (table) => [
    index('deposits_key_digest').on(table.keyDigest).where(sql`key_digest IS NOT NULL`),
    index('deposits_collection').on(table.collection, table.id),
    index('deposits_depositor').on(table.depositor, table.id),
  ],
);

export const depositFiles = twinsiteSchema.table(
  'deposit_files',
  {
    id: uuid('id').primaryKey(),
    depositId: uuid('deposit_id').notNull(),
    ordinal: integer('ordinal').notNull(),
    name: text('name').notNull(),
    mediaType: text('media_type').notNull(),
    sizeBytes: bigint('size_bytes', { mode: 'number' }).notNull(),
    sha256: bytea('sha256').notNull(),
    md5: bytea('md5').notNull(),
    chunkSha256: bytea('chunk_sha256').notNull(),
    path: text('path').notNull(),
  },
  (table) => [
    index('deposit_files_deposit').on(table.depositId),
    index('deposit_files_sha256').on(table.sha256),
  ],
);

export const events = twinsiteSchema.table(
  'events',
  {
    id: uuid('id').primaryKey(),
    entity: text('entity').notNull(),
    counter: bigint('counter', { mode: 'number' }).notNull(),
    site: text('site').notNull(),
    at: time('at').notNull(),
    kind: text('kind').notNull(),
    body: jsonb('body').notNull(),
  },
  (table) => [
    index('events_entity').on(table.entity.op('text_pattern_ops'), table.counter),
    index('events_received').on(table.at.desc(), table.id).where(sql`kind = 'received'`),
  ],
);

export const attestations = nodeSchema.table(
  'attestations',
  {
    depositId: uuid('deposit_id').primaryKey(),
    attestedAt: time('attested_at'),
    storeId: text('store_id'),
    statement: text('statement'),
    signature: bytea('signature'),
  },
  (table) => [index('attestations_open').on(table.depositId).where(isNull(table.attestedAt))],
);

export const vouched = nodeSchema.table('vouched', {
  depositId: uuid('deposit_id').primaryKey(),
  at: time('at').notNull(),
});

export const heldFiles = nodeSchema.table(
  'held_files',
  {
    fileId: uuid('file_id').primaryKey(),
    depositId: uuid('deposit_id').notNull(),
    verifiedAt: time('verified_at').notNull().defaultNow(),
  },
  (table) => [index('held_files_deposit').on(table.depositId)],
);

export const neededFiles = nodeSchema.table(
  'needed_files',
  {
    fileId: uuid('file_id').primaryKey(),
    depositId: uuid('deposit_id').notNull(),
    since: time('since').notNull().defaultNow(),
    attempts: integer('attempts').notNull().default(0),
    lastError: text('last_error'),
  },
  (table) => [
    index('needed_files_deposit').on(table.depositId),
    index('needed_files_order').on(table.attempts, table.since.desc(), table.fileId),
  ],
);

export const divergentRows = nodeSchema.table(
  'divergent_rows',
  {
    tableName: text('table_name').notNull(),
    key: uuid('key').notNull(),
    theirs: jsonb('theirs').notNull(),
    ours: jsonb('ours').notNull(),
    seenAt: time('seen_at').notNull().defaultNow(),
    times: integer('times').notNull().default(1),
  },
  (table) => [primaryKey({ columns: [table.tableName, table.key] })],
);

export const facts = nodeSchema.table('facts', {
  name: text('name').primaryKey(),
  value: jsonb('value').notNull(),
});

/** Kept by migrate.ts. */
export const migrations = nodeSchema.table('migrations', {
  name: text('name').primaryKey(),
  sha256: text('sha256').notNull(),
  appliedAt: time('applied_at').notNull().defaultNow(),
});

/** `schema.table` of what the peer gets. */
export const REPLICATED_TABLES = [
  'twinsite.deposits',
  'twinsite.deposit_files',
  'twinsite.events',
] as const;

/** `schema.table` of what is this site's own. */
export const NODE_LOCAL_TABLES = [
  'node.attestations',
  'node.vouched',
  'node.held_files',
  'node.needed_files',
  'node.divergent_rows',
  'node.facts',
  'node.migrations',
] as const;
