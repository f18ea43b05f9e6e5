/** Counts files under `deposits/` that no row here speaks of. Looks, and touches nothing. */
import type { Dirent } from 'node:fs';
import { promises as fs } from 'node:fs';
import { systemCode } from '../../../core/errors.ts';
import { type DepositId, parseDepositId } from '../../../core/ids.ts';
import type { Service } from '../../../core/service.ts';
import type { DepositContext } from './context.ts';
import { unlessDatabaseDown } from './database-wait.ts';
import type { IntakeJournal } from './intake-journal.ts';
import type { RunningUploads } from './running-uploads.ts';

/** Deposits asked for in one question to the database. */
const BATCH = 500;
/** Pause between batches: an audit is never in a hurry. */
const PAUSE_MS = 20;
/** A tree deeper than this below a deposit is not ours to walk. */
const MAX_DEPTH = 8;

export interface Audit {
  /** Files without a row at the last full walk. */
  unclaimed(): number;
  readonly service: Service;
}

interface Parts {
  readonly context: DepositContext;
  readonly journal: IntakeJournal;
  readonly running: RunningUploads;
}

export function createAudit(parts: Parts): Audit {
  const { store, needs, clock, pace, metrics } = parts.context;
  let unclaimed = 0;

  const entriesOf = async (directory: string): Promise<Dirent[]> => {
    try {
      return await fs.readdir(store.at(directory), { withFileTypes: true });
    } catch (error) {
      // Gone since it was listed. An unreadable directory is an error: nothing is concluded from it.
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return [];
      throw error;
    }
  };
  const filesBelow = async (directory: string, depth = 0): Promise<number> => {
    let count = 0;
    for (const entry of await entriesOf(directory)) {
      const path = `${directory}/${entry.name}`;
      if (!entry.isDirectory()) count += 1;
      else if (depth < MAX_DEPTH) count += await filesBelow(path, depth + 1);
    }
    return count;
  };
  /** Everything at `deposits/<c>/<xx>/…` in order, as deposit directories or as stray files. */
  async function* places(signal: AbortSignal) {
    async function* walk(directory: string, depth: number): AsyncGenerator<string | null> {
      for (const entry of await entriesOf(directory)) {
        if (signal.aborted) return;
        const path = `${directory}/${entry.name}`;
        if (!entry.isDirectory()) yield null;
        else if (depth === 2) yield path;
        else yield* walk(path, depth + 1);
      }
    }
    yield* walk('deposits', 0);
  }
  const countUnknown = async (batch: ReadonlyMap<string, DepositId | null>) => {
    const ids = [...batch.values()].filter((id) => id !== null);
    const known = await needs.known(ids);
    let count = 0;
    for (const [directory, id] of batch) {
      const claimed = id !== null && (known.has(id) || parts.running.has(id));
      if (!claimed) count += await filesBelow(directory);
    }
    return count;
  };
  const walkOnce = async (signal: AbortSignal) => {
    let count = 0;
    let batch = new Map<string, DepositId | null>();
    for await (const place of places(signal)) {
      if (place === null) count += 1;
      else batch.set(place, parseDepositId(place.slice(place.lastIndexOf('/') + 1)));
      if (batch.size < BATCH) continue;
      count += await countUnknown(batch);
      batch = new Map();
      await clock.sleep(PAUSE_MS, signal);
    }
    count += await countUnknown(batch);
    if (signal.aborted) return;
    unclaimed = count;
    metrics.gauge('deposit_files_unclaimed', 'Files under deposits/ without a row', count);
  };
  return {
    unclaimed: () => unclaimed,
    service: {
      name: 'deposit-audit',
      async run({ signal, ready }) {
        ready();
        while (!signal.aborted) {
          if (store.health().ok) await unlessDatabaseDown(() => walkOnce(signal));
          await clock.sleep(pace.auditEveryMs, signal);
        }
      },
    },
  };
}
