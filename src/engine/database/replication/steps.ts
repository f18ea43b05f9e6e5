/** Carrying out a plan. Each step ends within its deadline, and may be cut off and run again. */
import type { Sql } from 'postgres';
import { AppError, systemCode } from '../../../core/errors.ts';
import type { SiteName } from '../../../core/ids.ts';
import type { Clock, Log, PeerLink } from '../../../core/ports.ts';
import type { SubscriptionStep } from '../../../core/subscription-plan.ts';
import type { DatabaseEndpoint } from '../connections.ts';
import { DROP_SLOT_METHOD, FRESH_SLOT_METHOD } from './facts.ts';
import {
  connectionString,
  PUBLICATION,
  REPLICATION_ROLE,
  slotNameOf,
  subscriptionName,
} from './names.ts';
import { alone, LOCK_TIMEOUT_MS } from './session.ts';

const SLOT_REQUEST_MS = 15_000;

export interface StepContext {
  readonly endpoint: DatabaseEndpoint;
  readonly link: PeerLink;
  readonly site: SiteName;
  readonly peer: SiteName;
  readonly tunnelDirectory: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const SETTINGS = `origin = none, synchronous_commit = local, streaming = off,
  disable_on_error = false, binary = false`;

type StatementStep = Exclude<
  SubscriptionStep,
  { readonly kind: 'publish' | 'drop-origin' | 'fresh-slot' | 'remember' | 'wait' }
>;

function statementsOf(step: StatementStep, context: StepContext): readonly string[] {
  const name = `"${subscriptionName(context.peer)}"`;
  const connection = quoted(connectionString(context.tunnelDirectory, context.site));
  switch (step.kind) {
    case 'disable':
      return [`ALTER SUBSCRIPTION ${name} DISABLE`];
    case 'detach':
      // Crash after this: the slot stays at the peer; a fresh slot of that name replaces it.
      return [`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`];
    case 'drop':
      return [`DROP SUBSCRIPTION IF EXISTS ${name}`];
    case 'create':
      // The slot is there already: made by the subscription itself, it would wait for open
      // transactions at the peer with one of its own open here, and two sites that join at once
      // would wait for each other.
      return [
        `CREATE SUBSCRIPTION ${name} CONNECTION ${connection} PUBLICATION ${PUBLICATION}
          WITH (create_slot = false, slot_name = ${quoted(slotNameOf(context.site))},
            copy_data = true, two_phase = false, ${SETTINGS})`,
      ];
    case 'configure':
      return [
        `ALTER SUBSCRIPTION ${name} CONNECTION ${connection}`,
        `ALTER SUBSCRIPTION ${name} SET (${SETTINGS})`,
      ];
    case 'enable':
      return [`ALTER SUBSCRIPTION ${name} ENABLE`];
    case 'refresh':
      return [`ALTER SUBSCRIPTION ${name} REFRESH PUBLICATION WITH (copy_data = true)`];
    default:
      return step satisfies never;
  }
}

async function publish(sql: Sql): Promise<void> {
  const known = await sql`SELECT 1 FROM pg_publication WHERE pubname = ${PUBLICATION}`;
  if (known.length === 0) {
    await sql.unsafe(
      `CREATE PUBLICATION ${PUBLICATION} FOR TABLES IN SCHEMA twinsite WITH (publish = 'insert')`,
    );
    return;
  }
  await sql.unsafe(`ALTER PUBLICATION ${PUBLICATION} SET TABLES IN SCHEMA twinsite`);
  await sql.unsafe(`ALTER PUBLICATION ${PUBLICATION} SET (publish = 'insert')`);
}

/** Writes one fact of this database, flushed. */
export async function writeFact(sql: Sql, name: string, value: unknown): Promise<void> {
  await sql`INSERT INTO node.facts (name, value) VALUES (${name}, ${JSON.stringify(value)}::text::jsonb)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value`;
}

/** The publisher's side of a slot's limits: table copies make slots of their own by this role. */
export async function limitReplicationRole(context: Pick<StepContext, 'endpoint' | 'clock'>) {
  await alone(context, 'limit the replication role', (sql) =>
    sql.unsafe(`ALTER ROLE ${REPLICATION_ROLE} SET lock_timeout = '${LOCK_TIMEOUT_MS / 1000}s'`),
  );
}

/** Does one step; false when it cannot be done yet. Throws AppError. */
export async function runStep(step: SubscriptionStep, context: StepContext): Promise<boolean> {
  const { link, log, signal } = context;
  const what = `replication ${step.kind}`;
  switch (step.kind) {
    case 'wait':
      return false;
    case 'publish':
      await alone(context, what, publish);
      break;
    case 'drop-origin':
      await alone(context, what, (sql) => sql`SELECT pg_replication_origin_drop(${step.name})`);
      break;
    case 'fresh-slot':
      await link.request(FRESH_SLOT_METHOD, {}, { timeoutMs: SLOT_REQUEST_MS, signal });
      break;
    case 'remember':
      await alone(context, what, (sql) => writeFact(sql, 'replication-made-for', step.madeFor));
      break;
    case 'disable':
    case 'detach':
    case 'drop':
    case 'create':
    case 'configure':
    case 'enable':
    case 'refresh':
      for (const statement of statementsOf(step, context)) {
        await alone(context, what, (sql) => sql.unsafe(statement));
      }
  }
  log.info('replication.step', { ...step });
  return true;
}

/** Drops the peer's slot here, and those of table copies that it left behind. Throws when in use. */
async function dropSlots(sql: Sql, peer: SiteName): Promise<void> {
  // Only this pair's peer subscribes here: every copy slot that nobody uses is a leftover of it.
  const slots = await sql<{ slot_name: string; active: boolean }[]>`
    SELECT slot_name, active FROM pg_replication_slots
    WHERE database = current_database() AND (slot_name = ${slotNameOf(peer)}
      OR (NOT active AND slot_name ~ '^pg_[0-9]+_sync_[0-9]+_[0-9]+$'))`;
  for (const slot of slots) {
    if (slot.active) {
      throw new AppError('not-ready', `Slot ${slot.slot_name} is still in use.`, {
        retryAfterSeconds: 1,
      });
    }
    try {
      await sql`SELECT pg_drop_replication_slot(${slot.slot_name})`;
    } catch (error) {
      if (systemCode(error) !== '42704') throw error;
    }
  }
}

/**
 * Answers the peer's wishes for its own slot. The slot's name follows from who asks, never from what
 * is asked. Made here and not by the subscription: no transaction of the asker's is open meanwhile.
 */
export function answerSlotRequests(
  context: Pick<StepContext, 'endpoint' | 'clock' | 'link' | 'peer' | 'log'>,
): void {
  const { link, peer, log } = context;
  link.answer(DROP_SLOT_METHOD, async () => {
    await alone(context, 'drop a slot', (sql) => dropSlots(sql, peer));
    log.info('replication.slot-dropped', { slot: slotNameOf(peer) });
    return {};
  });
  link.answer(FRESH_SLOT_METHOD, async () => {
    await alone(context, 'make a slot', async (sql) => {
      await dropSlots(sql, peer);
      // Crash after this: an unused slot, replaced when the peer asks again.
      await sql`SELECT pg_create_logical_replication_slot(${slotNameOf(peer)}, 'pgoutput')`;
    });
    log.info('replication.slot-made', { slot: slotNameOf(peer) });
    return {};
  });
}
