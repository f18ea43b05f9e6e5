/**
 * What this site vouched for: known to this process at once, written a moment later with what came
 * meanwhile, so that saying it costs no statement of its own.
 */
import type { Sql } from 'postgres';
import type { DepositFileRow, DepositRow } from '../../../core/deposit.ts';
import { describeError } from '../../../core/errors.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Clock, Log } from '../../../core/ports.ts';
import { uuidArray, within } from './database-error.ts';

const WRITE_AFTER_MS = 20;
const AFTER_FAILURE_MS = 500;
const PER_WRITE = 256;
/** More than this unwritten: putting waits. */
const UNWRITTEN_MAX = 2_048;

export interface VouchedDeposit {
  readonly deposit: Pick<DepositRow, 'id'>;
  readonly files: readonly Pick<DepositFileRow, 'id' | 'depositId'>[];
}

export interface VouchedLog {
  /** Known from now on, also as held; resolves at once unless too much is unwritten. */
  put(deposits: readonly VouchedDeposit[], at: string): Promise<void>;
  /** When it was vouched for, while that is not written yet. */
  unwritten(id: DepositId): string | null;
  /** Resolves when all is written, or at the deadline. */
  drain(timeoutMs: number): Promise<void>;
}

interface Entry extends VouchedDeposit {
  readonly at: string;
}

/**
 * Not flushed: a crash in the next half second forgets it, and the files are then found on the need
 * list and verified again.
 */
async function write(sql: Sql, entries: readonly Entry[]): Promise<void> {
  const files = entries.flatMap((entry) => entry.files);
  const fileIds = uuidArray(files.map((file) => file.id));
  // Arrays and `= ANY`: however long the lists are, the index is used.
  await sql`
    WITH vouched AS (
      INSERT INTO node.vouched (deposit_id, at)
      SELECT * FROM unnest(${uuidArray(entries.map((entry) => entry.deposit.id))}::text::uuid[],
        ${uuidArray(entries.map((entry) => entry.at))}::text::timestamptz[]) AS v(deposit_id, at)
      ORDER BY deposit_id ON CONFLICT DO NOTHING
    ), held AS (
      INSERT INTO node.held_files (file_id, deposit_id)
      SELECT * FROM unnest(${fileIds}::text::uuid[],
        ${uuidArray(files.map((file) => file.depositId))}::text::uuid[]) AS f(file_id, deposit_id)
      ORDER BY file_id ON CONFLICT DO NOTHING
    ), off AS (
      DELETE FROM node.needed_files WHERE file_id = ANY(${fileIds}::text::uuid[])
    )
    SELECT set_config('synchronous_commit', 'off', true)`;
}

/** Writes by itself; nothing is to be started. */
export function createVouchedLog(options: {
  readonly sql: Sql;
  readonly clock: Clock;
  readonly log: Log;
  readonly deadlineMs: number;
}): VouchedLog {
  const { sql, clock, log, deadlineMs } = options;
  const entries = new Map<DepositId, Entry>();
  let writing: Promise<void> | null = null;

  const writeAll = async (): Promise<void> => {
    await clock.sleep(WRITE_AFTER_MS);
    while (entries.size > 0) {
      const batch = [...entries.values()].slice(0, PER_WRITE);
      try {
        await within(write(sql, batch), clock, deadlineMs, 'record what is vouched for');
        for (const { deposit } of batch) entries.delete(deposit.id);
      } catch (error) {
        log.warn('attestation.unrecorded', {
          deposits: entries.size,
          error: describeError(error),
        });
        await clock.sleep(AFTER_FAILURE_MS);
      }
    }
  };
  const start = (): Promise<void> => {
    writing ??= writeAll().finally(() => {
      writing = null;
    });
    return writing;
  };

  return {
    async put(deposits, at) {
      for (const deposit of deposits) {
        if (!entries.has(deposit.deposit.id)) entries.set(deposit.deposit.id, { ...deposit, at });
      }
      const written = start();
      if (entries.size > UNWRITTEN_MAX) await written;
    },
    unwritten: (id) => entries.get(id)?.at ?? null,
    async drain(timeoutMs) {
      const over = new AbortController();
      await Promise.race([writing ?? Promise.resolve(), clock.sleep(timeoutMs, over.signal)]);
      over.abort();
    },
  };
}
