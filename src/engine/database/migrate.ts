/** Brings the database to this build's schema: forward only, each file once, in order. */
import { createHash, randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import init from '../../../migrations/0001_init.sql' with { type: 'text' };
import { AppError, describeError } from '../../core/errors.ts';
import type { Log } from '../../core/ports.ts';

export interface Migration {
  readonly name: string;
  readonly sql: string;
}

/** In the order in which they are applied; a name sorts after all before it. */
export const MIGRATIONS: readonly Migration[] = [{ name: '0001_init', sql: init }];

/** Any number that nothing else locks. */
const LOCK_KEY = 7_411_938_215;
const LOCK_TIMEOUT = '60s';

export interface AppliedMigration {
  readonly name: string;
  readonly sha256: string;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * Which migrations are still to run. Throws AppError `database-incompatible` when the database has one
 * that this build does not know (it is newer) or one whose text has changed since.
 */
export function planMigrations(
  known: readonly Migration[],
  applied: readonly AppliedMigration[],
): readonly Migration[] {
  for (const done of applied) {
    const file = known.find((migration) => migration.name === done.name);
    if (!file) {
      throw new AppError(
        'database-incompatible',
        `The database was used by a newer Twinsite (migration ${done.name}): start that release or a later one.`,
      );
    }
    if (sha256(file.sql) !== done.sha256) {
      throw new AppError(
        'database-incompatible',
        `Migration ${done.name} differs from the one this database was made with: install an official build.`,
      );
    }
  }
  const names = new Set(applied.map((done) => done.name));
  return known.filter((migration) => !names.has(migration.name));
}

async function apply(
  connection: postgres.ReservedSql,
  migration: Migration,
  log: Log,
): Promise<void> {
  try {
    // A crash anywhere between BEGIN and COMMIT leaves nothing of this file.
    await connection.unsafe('BEGIN');
    await connection.unsafe('SET LOCAL statement_timeout = 0');
    await connection.unsafe(migration.sql);
    await connection`INSERT INTO node.migrations (name, sha256)
      VALUES (${migration.name}, ${sha256(migration.sql)})`;
    await connection.unsafe('COMMIT');
  } catch (error) {
    await connection.unsafe('ROLLBACK').catch(() => undefined);
    throw new AppError(
      'database-incompatible',
      `Migration ${migration.name} failed: ${describeError(error)}`,
      { cause: error, kind: 'transient' },
    );
  }
  log.info('database.migrated', { migration: migration.name });
}

/** Names this database; a new one, or one that was lost, gets another name. */
async function ensureIncarnation(connection: postgres.ReservedSql): Promise<void> {
  await connection`INSERT INTO node.facts (name, value)
    VALUES ('incarnation', to_jsonb(${randomUUID()}::text)) ON CONFLICT DO NOTHING`;
}

/**
 * Applies what is missing; two processes cannot do it at once. Resolves to the names applied now. Throws
 * AppError `database-incompatible` (fatal for an unknown or changed migration).
 */
export async function migrate(
  admin: postgres.Sql,
  log: Log,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<readonly string[]> {
  // Without fetch_types the driver never gives out a connection that has answered nothing yet.
  await admin`SELECT 1`;
  const connection = await admin.reserve();
  try {
    await connection.unsafe(`SET lock_timeout = '${LOCK_TIMEOUT}'`);
    await connection`SELECT pg_advisory_lock(${LOCK_KEY}::bigint)`;
    try {
      await connection.unsafe(`SET client_min_messages = warning;
        CREATE SCHEMA IF NOT EXISTS node;
        CREATE TABLE IF NOT EXISTS node.migrations (
          name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
        )`);
      const applied = await connection<AppliedMigration[]>`
        SELECT name, sha256 FROM node.migrations ORDER BY name`;
      const missing = planMigrations(migrations, applied);
      for (const migration of missing) await apply(connection, migration, log);
      await ensureIncarnation(connection);
      return missing.map((migration) => migration.name);
    } finally {
      await connection`SELECT pg_advisory_unlock(${LOCK_KEY}::bigint)`;
      await connection.unsafe('RESET lock_timeout; RESET client_min_messages');
    }
  } finally {
    connection.release();
  }
}
