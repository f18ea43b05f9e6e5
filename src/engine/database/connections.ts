/** Pools of connections to this site's PostgreSQL. They connect on first use and again after a loss. */
import path from 'node:path';
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import type { Log } from '../../core/ports.ts';
import * as schema from './schema.ts';
import { ADMIN_ROLE, SERVICE_ROLE } from './server/provision.ts';

export interface DatabaseEndpoint {
  readonly socketDirectory: string;
  readonly port: number;
  readonly database: string;
}

export type Database = PostgresJsDatabase<typeof schema>;

export interface DatabasePools {
  /**
   * Role twinsite_service: SELECT and INSERT on replicated tables, everything on node tables. Shared
   * with `db`, which makes it give times as PostgreSQL's text and take JSON as text: bind
   * `JSON.stringify(value)`.
   */
  readonly service: postgres.Sql;
  /** Role twinsite, superuser: migrations, subscriptions, checks. */
  readonly admin: postgres.Sql;
  /** Drizzle over `service`. */
  readonly db: Database;
  /** Lets running queries finish for up to 2 s, then cuts. Safe to call twice. */
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_S = 3;
const CLOSE_TIMEOUT_S = 2;
const SERVICE_CONNECTIONS = 10;
const ADMIN_CONNECTIONS = 4;

interface PoolOptions {
  readonly user: string;
  readonly max: number;
  readonly statementTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly database?: string;
  readonly log?: Log | undefined;
}

/** One pool; nothing is connected yet. */
export function openPool(endpoint: DatabaseEndpoint, options: PoolOptions): postgres.Sql {
  return postgres({
    path: path.join(endpoint.socketDirectory, `.s.PGSQL.${endpoint.port}`),
    port: endpoint.port,
    database: options.database ?? endpoint.database,
    username: options.user,
    max: options.max,
    connect_timeout: CONNECT_TIMEOUT_S,
    // The driver's own question for types is awaited by nobody: a server that dies then would end us.
    fetch_types: false,
    // A pool that waits longer between attempts is slower back than the server.
    backoff: (attempt) => Math.min(0.05 * 2 ** attempt, 1),
    idle_timeout: 60,
    connection: {
      application_name: options.user,
      statement_timeout: options.statementTimeoutMs,
      lock_timeout: options.lockTimeoutMs,
      idle_in_transaction_session_timeout: 60_000,
    },
    onnotice: (notice) => {
      options.log?.debug('postgres.notice', {
        severity: notice['severity'],
        message: notice['message'],
      });
    },
  });
}

/** The pools of a site. They never connect by themselves: the first query does. */
export function openPools(endpoint: DatabaseEndpoint, log?: Log): DatabasePools {
  const service = openPool(endpoint, {
    user: SERVICE_ROLE,
    max: SERVICE_CONNECTIONS,
    statementTimeoutMs: 15_000,
    lockTimeoutMs: 10_000,
    log,
  });
  const admin = openPool(endpoint, {
    user: ADMIN_ROLE,
    max: ADMIN_CONNECTIONS,
    statementTimeoutMs: 60_000,
    lockTimeoutMs: 10_000,
    log,
  });
  return {
    service,
    admin,
    db: drizzle(service, { schema }),
    close: async () => {
      await Promise.all([
        service.end({ timeout: CLOSE_TIMEOUT_S }),
        admin.end({ timeout: CLOSE_TIMEOUT_S }),
      ]);
    },
  };
}
