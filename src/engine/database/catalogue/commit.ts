/** A new deposit's rows: one statement, one flushed transaction, one round trip. */
import type { Sql } from 'postgres';
import type { NewDeposit } from '../../../core/deposit.ts';
import { AppError } from '../../../core/errors.ts';
import type { Clock, CommitOutcome, Log } from '../../../core/ports.ts';
import { databaseError, isDatabaseDown, within } from './database-error.ts';

/** How long one attempt waits for its answer before the same statement is sent again. */
const ATTEMPT_MS = 3_000;
const RETRY_PAUSE_MS = 50;

/** `chunks` as one hex string. */
export function filesJson(files: NewDeposit['files']): string {
  return JSON.stringify(
    files.map((file) => ({
      id: file.id,
      ordinal: file.ordinal,
      name: file.name,
      media_type: file.mediaType,
      size_bytes: file.sizeBytes,
      sha256: file.sha256,
      md5: file.md5,
      chunks: file.chunkSha256.join(''),
      path: file.path,
    })),
  );
}

/**
 * Everything hangs on the first INSERT: when the id exists nothing is returned and nothing else is
 * written. synchronous_commit is set for this transaction whatever the role's default may be.
 * Crash anywhere before the commit record is flushed: none of the rows exists.
 */
function insertDeposit(sql: Sql, { deposit, files, events }: NewDeposit) {
  return sql<{ written: boolean; mine: boolean }[]>`
    WITH d AS (
      INSERT INTO twinsite.deposits (id, collection, depositor, on_behalf_of, title, packaging,
        file_count, request_digest, key_digest)
      VALUES (${deposit.id}::text::uuid, ${deposit.collection}, ${deposit.depositor},
        ${deposit.onBehalfOf}, ${deposit.title}, ${deposit.packaging}, ${deposit.fileCount},
        decode(${deposit.requestDigest}, 'hex'), decode(${deposit.keyDigest}, 'hex'))
      ON CONFLICT (id) DO NOTHING RETURNING id
    ), f AS (
      INSERT INTO twinsite.deposit_files (id, deposit_id, ordinal, name, media_type, size_bytes,
        sha256, md5, chunk_sha256, path)
      SELECT j.id, d.id, j.ordinal, j.name, j.media_type, j.size_bytes, decode(j.sha256, 'hex'),
        decode(j.md5, 'hex'), decode(j.chunks, 'hex'), j.path
      FROM d, json_to_recordset(${filesJson(files)}::text::json) AS j(id uuid, ordinal integer,
        name text, media_type text, size_bytes bigint, sha256 text, md5 text, chunks text, path text)
      RETURNING id, deposit_id
    ), e AS (
      INSERT INTO twinsite.events (id, entity, counter, site, at, kind, body)
      SELECT j.id, j.entity, j.counter, j.site, j.at, j.kind, j.body
      FROM d, json_to_recordset(${JSON.stringify(events)}::text::json) AS j(id uuid, entity text,
        counter bigint, site text, at timestamptz, kind text, body jsonb)
    ), h AS (
      INSERT INTO node.held_files (file_id, deposit_id) SELECT id, deposit_id FROM f
      ON CONFLICT DO NOTHING
    ), a AS (
      INSERT INTO node.attestations (deposit_id) SELECT id FROM d ON CONFLICT DO NOTHING
    )
    SELECT EXISTS (SELECT FROM d) AS written,
      EXISTS (SELECT FROM twinsite.events
        WHERE id = ${events[0]?.id ?? null}::text::uuid) AS mine,
      set_config('synchronous_commit', 'on', true)`;
}

/**
 * Commits; a connection that breaks on the way leaves the outcome unknown, so the same statement with
 * the same id runs again until `deadlineMs`: it waits for a transaction that is still under way, and
 * this taking's own event tells a late success from another's deposit.
 */
export async function commitDeposit(
  sql: Sql,
  deposit: NewDeposit,
  options: { readonly clock: Clock; readonly log: Log; readonly deadlineMs: number },
): Promise<CommitOutcome> {
  const { clock } = options;
  const started = clock.monotonicMs();
  const left = () => options.deadlineMs - (clock.monotonicMs() - started);
  for (let broken = false; ; broken = true) {
    try {
      // The driver has been seen to lose a statement whose connection was ended while it was sent:
      // nobody answers it then, and asking again is the only way to know.
      const attemptMs = Math.min(left(), ATTEMPT_MS);
      const [row] = await within(insertDeposit(sql, deposit), clock, attemptMs, 'deposit commit');
      if (row === undefined) throw new AppError('internal', 'The commit gave no answer.');
      const ours = row.written || (broken && row.mine);
      return { outcome: ours ? 'committed' : 'existed' };
    } catch (error) {
      if (!isDatabaseDown(error) || left() <= RETRY_PAUSE_MS) {
        throw databaseError(error, `deposit ${deposit.deposit.id} may or may not be recorded`);
      }
      options.log.warn('catalogue.commit-unknown', { id: deposit.deposit.id });
      await clock.sleep(RETRY_PAUSE_MS);
    }
  }
}
