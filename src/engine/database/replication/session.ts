/** A connection of one's own for one piece of work, with its own limits, closed afterwards. */
import path from 'node:path';
import postgres from 'postgres';
import type { Clock } from '../../../core/ports.ts';
import { within } from '../catalogue/database-error.ts';
import type { DatabaseEndpoint } from '../connections.ts';
import { ADMIN_ROLE } from '../server/provision.ts';

const CONNECT_TIMEOUT_S = 3;
/** A new slot waits for open transactions; only this bounds it on the publisher (0.1 s when idle). */
export const LOCK_TIMEOUT_MS = 10_000;
const STATEMENT_TIMEOUT_MS = 20_000;
const GIVE_UP_MS = 30_000;
const CLOSE_TIMEOUT_S = 1;

/**
 * Runs `work` as superuser on a fresh connection: creating subscriptions and slots refuses transaction
 * blocks, and a pool's reserve() loses a connection for good each time that the server is away.
 * Throws AppError; what hangs is given up after 30 s.
 */
export async function alone<T>(
  context: { readonly endpoint: DatabaseEndpoint; readonly clock: Clock },
  what: string,
  work: (sql: postgres.Sql) => Promise<T>,
): Promise<T> {
  const { endpoint, clock } = context;
  const sql = postgres({
    path: path.join(endpoint.socketDirectory, `.s.PGSQL.${endpoint.port}`),
    database: endpoint.database,
    username: ADMIN_ROLE,
    max: 1,
    connect_timeout: CONNECT_TIMEOUT_S,
    max_lifetime: null,
    // The driver's own query for types is awaited by nobody: lost with its connection, it would end us.
    fetch_types: false,
    onnotice: () => undefined,
    connection: {
      application_name: 'twinsite_replication',
      statement_timeout: STATEMENT_TIMEOUT_MS,
      lock_timeout: LOCK_TIMEOUT_MS,
    },
  });
  try {
    return await within(work(sql), clock, GIVE_UP_MS, what);
  } finally {
    await sql.end({ timeout: CLOSE_TIMEOUT_S });
  }
}
