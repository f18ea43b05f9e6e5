/** Events of any entity: written with the next counter, read in fold order. */
import { randomBytes } from 'node:crypto';
import type { Sql } from 'postgres';
import type { EventRow } from '../../../core/deposit.ts';
import { AppError } from '../../../core/errors.ts';
import { newUuid, type SiteName } from '../../../core/ids.ts';
import type { Clock } from '../../../core/ports.ts';
import { databaseError, isDatabaseDown, reading, within } from './database-error.ts';
import { timeText, toEventRow } from './rows.ts';

const RETRY_PAUSE_MS = 50;

export interface EventDraft {
  readonly kind: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface EventsOptions {
  readonly sql: Sql;
  readonly site: SiteName;
  readonly clock: Clock;
  readonly deadlineMs: number;
}

type Identified = EventDraft & { readonly id: string };

/** Run again with the same ids, it writes nothing twice and returns what stands. */
function insertEvents(
  sql: Sql,
  entity: string,
  site: string,
  at: string,
  drafts: readonly Identified[],
) {
  return sql<{ event: unknown }[]>`
    WITH drafts AS (
      SELECT j.id, j.kind, j.body, j.ordinal
      FROM json_to_recordset(${JSON.stringify(drafts.map((d, ordinal) => ({ ...d, ordinal })))}::text::json)
        AS j(id uuid, kind text, body jsonb, ordinal integer)
    ), known AS (
      SELECT e.* FROM twinsite.events e JOIN drafts USING (id)
    ), added AS (
      INSERT INTO twinsite.events (id, entity, counter, site, at, kind, body)
      SELECT drafts.id, ${entity}, drafts.ordinal + 1 + coalesce((SELECT max(counter)
        FROM twinsite.events WHERE entity = ${entity}), 0), ${site}, ${at}::text::timestamptz,
        drafts.kind, drafts.body
      FROM drafts WHERE NOT EXISTS (SELECT FROM known)
      ON CONFLICT (id) DO NOTHING RETURNING *
    )
    SELECT json_build_object('id', e.id, 'entity', e.entity, 'counter', e.counter, 'site', e.site,
      'at', ${sql.unsafe(timeText('e.at'))}, 'kind', e.kind, 'body', e.body) AS event
    FROM (SELECT * FROM added UNION ALL SELECT * FROM known) e
    WHERE set_config('synchronous_commit', 'on', true) = 'on'
    ORDER BY e.counter, e.id`;
}

/**
 * Writes events in one flushed transaction. One at a time within this process, so that two calls for
 * one entity never take the same counter. Throws `database-down` after the deadline; then the events
 * may or may not stand.
 */
export function createEventWriter(options: EventsOptions) {
  const { sql, site, clock, deadlineMs } = options;
  let last: Promise<unknown> = Promise.resolve();

  const write = async (entity: string, drafts: readonly EventDraft[]): Promise<EventRow[]> => {
    const started = clock.monotonicMs();
    const left = () => deadlineMs - (clock.monotonicMs() - started);
    const wallMs = clock.wallMs();
    const at = new Date(wallMs).toISOString();
    const identified = drafts.map((draft) => ({ ...draft, id: newUuid(randomBytes(16), wallMs) }));
    for (;;) {
      try {
        const query = insertEvents(sql, entity, site, at, identified);
        const rows = await within(query, clock, left(), 'write events');
        // Empty after a broken connection: the first attempt committed after this one's snapshot.
        if (rows.length === identified.length) return rows.map((row) => toEventRow(row.event));
      } catch (error) {
        if (!isDatabaseDown(error) || left() <= RETRY_PAUSE_MS) {
          throw databaseError(error, `events of ${entity} may or may not be recorded`);
        }
      }
      if (left() <= 0) {
        throw new AppError('database-down', `Events of ${entity} could not be read back in time.`);
      }
      await clock.sleep(RETRY_PAUSE_MS);
    }
  };

  return (entity: string, drafts: readonly EventDraft[]): Promise<readonly EventRow[]> => {
    if (drafts.length === 0) return Promise.resolve([]);
    const next = last.then(() => write(entity, drafts));
    last = next.catch(() => undefined);
    return next;
  };
}

/** All events whose entity begins with `prefix`, by entity and then in fold order. */
export async function readEvents(options: EventsOptions, prefix: string): Promise<EventRow[]> {
  const { sql, clock, deadlineMs } = options;
  const pattern = `${prefix.replaceAll(/[\\%_]/g, '\\$&')}%`;
  const query = () => sql<{ event: unknown }[]>`
    SELECT json_build_object('id', e.id, 'entity', e.entity, 'counter', e.counter, 'site', e.site,
      'at', ${sql.unsafe(timeText('e.at'))}, 'kind', e.kind, 'body', e.body) AS event
    FROM twinsite.events e WHERE e.entity LIKE ${pattern}
    ORDER BY e.entity COLLATE "C", e.counter, e.site COLLATE "C", e.id`;
  const rows = await reading(query, clock, deadlineMs, 'read events');
  return rows.map((row) => toEventRow(row.event));
}
