/** What a server must have before migrations run: the database and its roles. Safe to repeat. */
import type postgres from 'postgres';

export const DATABASE_NAME = 'twinsite';
/** Owner and superuser: migrations, subscriptions. Made by the template. */
export const ADMIN_ROLE = 'twinsite';
/** Adds and reads rows. */
export const SERVICE_ROLE = 'twinsite_service';
/** What the peer's subscription connects as. */
export const REPLICATION_ROLE = 'twinsite_replication';

/** Creates what is missing; `admin` is connected to any database as a superuser. */
export async function provision(admin: postgres.Sql): Promise<void> {
  const roles = await admin<{ rolname: string }[]>`
    SELECT rolname FROM pg_roles WHERE rolname IN (${SERVICE_ROLE}, ${REPLICATION_ROLE})`;
  const known = new Set(roles.map((role) => role.rolname));
  if (!known.has(SERVICE_ROLE)) await admin`CREATE ROLE ${admin(SERVICE_ROLE)} LOGIN`;
  if (!known.has(REPLICATION_ROLE)) {
    await admin`CREATE ROLE ${admin(REPLICATION_ROLE)} LOGIN REPLICATION`;
  }
  const databases = await admin`SELECT 1 FROM pg_database WHERE datname = ${DATABASE_NAME}`;
  if (databases.length > 0) return;
  await admin`CREATE DATABASE ${admin(DATABASE_NAME)} OWNER ${admin(ADMIN_ROLE)}`;
}
