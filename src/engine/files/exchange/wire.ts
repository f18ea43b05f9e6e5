/** The questions and answers of file replication; everything from the peer is parsed with these. */
import { z } from 'zod';
import { checkTreePath } from '../../../core/tree-path.ts';
import { ENTRY, fromWire, toWire } from '../index/entry-text.ts';
import type { KeptFile } from '../index/kept-list.ts';
import type { IndexRow } from '../index/rows.ts';

export const CHANGES_METHOD = 'files.changes';
export const HINT_METHOD = 'files.hint';
export const MAX_PAGE = 1_000;

const COUNT = z.int().min(0);
const ID = z.string().min(1).max(100);
const HASH = z.string().regex(/^[0-9a-f]{64}$/);

/** How one side stands, sent with every question and answer. */
const STANDING = z.strictObject({
  incarnation: ID,
  storeId: ID,
  /** Digest of the ignore rules. */
  rules: HASH,
  /** This side's journal, as far as it is durable. */
  seq: COUNT,
  root: HASH,
  /** What this side has still to apply of the other's. */
  pending: COUNT,
  /** What it has given up for now, with an alarm. */
  stuck: COUNT,
  /** The other side's journal as far as it is recorded here. */
  recorded: z.strictObject({ incarnation: ID, seq: COUNT }).nullable(),
});

export type Standing = z.infer<typeof STANDING>;

/** A conflict's loser that both sites keep. */
const COPY = z.strictObject({
  p: z.base64().max(24_000),
  h: HASH,
  s: COUNT,
  w: z.string().regex(/^[a-z0-9-]{1,32}$/),
});

const BATCH = {
  entries: z.array(ENTRY).max(MAX_PAGE),
  copies: z.array(COPY).max(MAX_PAGE),
};

export const CHANGES_REQUEST = z.strictObject({
  me: STANDING,
  /** Continues a listing of everything after this path (base64). */
  after: z.base64().max(24_000).nullable(),
});

export const CHANGES_ANSWER = z.strictObject({
  me: STANDING,
  /** `listing`: everything, in path order, because the asker has no place in this journal. */
  mode: z.enum(['journal', 'listing']),
  ...BATCH,
  /** The asker has the journal up to here when it recorded this (of a listing: its first page's). */
  upTo: COUNT,
  /** Where a listing goes on; null at its end and for a journal. */
  next: z.base64().max(24_000).nullable(),
});

export const HINT_REQUEST = z.strictObject({ me: STANDING, ...BATCH, since: COUNT, upTo: COUNT });
export const HINT_ANSWER = z.strictObject({ me: STANDING });

export type ChangesAnswer = z.infer<typeof CHANGES_ANSWER>;
export type Batch = Pick<ChangesAnswer, 'entries' | 'copies'>;

export function toCopy(kept: KeptFile): Batch['copies'][number] {
  return {
    p: Buffer.from(kept.path, 'latin1').toString('base64'),
    h: kept.hash,
    s: kept.size,
    w: kept.site,
  };
}

export function toBatch(rows: readonly IndexRow[], kept: readonly KeptFile[]): Batch {
  return { entries: rows.map((row) => toWire(row.entry)), copies: kept.map(toCopy) };
}

/** Entries whose paths stay inside the tree; the rest is dropped and counted. */
export function fromBatch(batch: Batch) {
  const entries = batch.entries.map(fromWire).filter((entry) => entry !== null);
  const copies = batch.copies.flatMap((copy) => {
    const path = checkTreePath(Buffer.from(copy.p, 'base64'));
    return path === null ? [] : [{ path, hash: copy.h, size: copy.s, site: copy.w }];
  });
  const refused = batch.entries.length - entries.length + (batch.copies.length - copies.length);
  return { entries, copies, refused };
}
