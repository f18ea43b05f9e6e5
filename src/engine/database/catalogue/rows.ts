/** Deposits as they come out of the database: one row each, its files and events as JSON. */
import type { Sql } from 'postgres';
import { z } from 'zod';
import type { DepositRecord, EventRow, NewDeposit } from '../../../core/deposit.ts';
import type { AccountName, DepositId, FileId, SiteName } from '../../../core/ids.ts';

const HEX_CHUNK = 64;

const fileSchema = z.object({
  id: z.string(),
  depositId: z.string(),
  ordinal: z.number(),
  name: z.string(),
  mediaType: z.string(),
  sizeBytes: z.number(),
  sha256: z.string(),
  md5: z.string(),
  chunks: z.string(),
  path: z.string(),
});

export const eventSchema = z.object({
  id: z.string(),
  entity: z.string(),
  counter: z.number(),
  site: z.string(),
  at: z.string(),
  kind: z.string(),
  body: z.record(z.string(), z.unknown()),
});

/** A deposit's own columns, as every query here names them. */
export const depositSchema = z.object({
  id: z.string(),
  collection: z.string(),
  depositor: z.string(),
  onBehalfOf: z.string().nullable(),
  title: z.string().nullable(),
  packaging: z.string().nullable(),
  fileCount: z.number(),
  requestDigest: z.string(),
  keyDigest: z.string().nullable(),
});

const recordSchema = z.object({
  deposit: depositSchema,
  files: z.array(fileSchema),
  events: z.array(eventSchema),
  attestedByPeerAt: z.string().nullable(),
  vouchedAt: z.string().nullable(),
  heldFiles: z.number(),
});

/** A timestamptz as the contract writes it. `column` is never user input. */
export function timeText(column: string): string {
  return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}

/** The columns of one file row as JSON; `f` is the table's alias. */
export const FILE_JSON = `json_build_object('id', f.id, 'depositId', f.deposit_id,
  'ordinal', f.ordinal, 'name', f.name, 'mediaType', f.media_type, 'sizeBytes', f.size_bytes,
  'sha256', encode(f.sha256, 'hex'), 'md5', encode(f.md5, 'hex'),
  'chunks', encode(f.chunk_sha256, 'hex'), 'path', f.path)`;

const EVENT_JSON = `json_build_object('id', e.id, 'entity', e.entity, 'counter', e.counter,
  'site', e.site, 'at', ${timeText('e.at')}, 'kind', e.kind, 'body', e.body)`;

/** A SELECT of whole records for the deposits of `source` (an alias `d` of twinsite.deposits). */
const RECORD_JSON = `json_build_object(
  'deposit', json_build_object('id', d.id, 'collection', d.collection, 'depositor', d.depositor,
    'onBehalfOf', d.on_behalf_of, 'title', d.title, 'packaging', d.packaging,
    'fileCount', d.file_count, 'requestDigest', encode(d.request_digest, 'hex'),
    'keyDigest', encode(d.key_digest, 'hex')),
  'files', (SELECT coalesce(json_agg(${FILE_JSON} ORDER BY f.ordinal), '[]')
    FROM twinsite.deposit_files f WHERE f.deposit_id = d.id),
  'events', (SELECT coalesce(json_agg(${EVENT_JSON} ORDER BY e.counter, e.site COLLATE "C", e.id), '[]')
    FROM twinsite.events e WHERE e.entity = 'deposit/' || d.id),
  'attestedByPeerAt', (SELECT ${timeText('a.attested_at')} FROM node.attestations a
    WHERE a.deposit_id = d.id),
  'vouchedAt', (SELECT ${timeText('v.at')} FROM node.vouched v WHERE v.deposit_id = d.id),
  'heldFiles', (SELECT count(*) FROM node.held_files h
    JOIN twinsite.deposit_files f ON f.id = h.file_id WHERE h.deposit_id = d.id)) AS record`;

export function toFileRow(value: unknown): NewDeposit['files'][number] {
  const { chunks, ...file } = fileSchema.parse(value);
  const chunkSha256: string[] = [];
  for (let i = 0; i < chunks.length; i += HEX_CHUNK)
    chunkSha256.push(chunks.slice(i, i + HEX_CHUNK));
  return { ...file, id: file.id as FileId, depositId: file.depositId as DepositId, chunkSha256 };
}

export function toEventRow(value: unknown): EventRow {
  const event = eventSchema.parse(value);
  return { ...event, site: event.site as SiteName };
}

/** The record, or null while not all of its files' rows are here. */
export function toRecord(value: unknown): DepositRecord | null {
  const record = recordSchema.parse(value);
  const { deposit } = record;
  if (record.files.length !== deposit.fileCount) return null;
  return {
    deposit: {
      ...deposit,
      id: deposit.id as DepositId,
      collection: deposit.collection as AccountName,
      depositor: deposit.depositor as AccountName,
    },
    files: record.files.map(toFileRow),
    events: record.events.map(toEventRow),
    attestedByPeerAt: record.attestedByPeerAt,
    vouchedAt: record.vouchedAt,
    heldHere: record.heldFiles >= deposit.fileCount,
  };
}

export interface RecordJsonRow {
  readonly record: unknown;
}

/** The expression as a fragment for `sql`. */
export function recordJson(sql: Sql) {
  return sql.unsafe(RECORD_JSON);
}
