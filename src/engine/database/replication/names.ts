/** The names that both sites derive for themselves, so that none is ever taken from a request. */
import type { SiteName } from '../../../core/ids.ts';

export const PUBLICATION = 'twinsite';
export const REPLICATION_ROLE = 'twinsite_replication';
export const DATABASE = 'twinsite';
/** Every PostgreSQL socket is called after a port; this one listens on none. */
export const TUNNEL_PORT = 5432;

function identifier(site: SiteName): string {
  return site.replaceAll('-', '_');
}

/** The slot that `subscriber` has at its peer; also its application_name there. */
export function slotNameOf(subscriber: SiteName): string {
  return `twinsite_${identifier(subscriber)}`;
}

/** The subscription at this site for the peer's rows. */
export function subscriptionName(peer: SiteName): string {
  return `twinsite_from_${identifier(peer)}`;
}

/** How the subscription connects: to this process's tunnel socket. No secret is in it. */
export function connectionString(tunnelDirectory: string, site: SiteName): string {
  const host = tunnelDirectory.replaceAll(/['\\]/g, '\\$&');
  return [
    `host='${host}'`,
    `port=${TUNNEL_PORT}`,
    `user=${REPLICATION_ROLE}`,
    `dbname=${DATABASE}`,
    `application_name=${slotNameOf(site)}`,
    'connect_timeout=3',
    'sslmode=disable',
    'gssencmode=disable',
  ].join(' ');
}
