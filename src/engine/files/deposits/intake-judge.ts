/**
 * Files that this site placed and whose rows never came: their requests died between publish and
 * commit. Only what the intake journal names is ever moved, and only into the trash.
 */
import { promises as fs } from 'node:fs';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import type { DepositId } from '../../../core/ids.ts';
import type { Service } from '../../../core/service.ts';
import { type DepositContext, TEMP_DIRECTORY } from './context.ts';
import { unlessDatabaseDown } from './database-wait.ts';
import type { HeldFiles } from './held-files.ts';
import type { IntakeJournal, OpenIntake } from './intake-journal.ts';
import type { KeyedLock } from './keyed-lock.ts';
import type { RunningUploads } from './running-uploads.ts';
import { isTempName } from './temp-file.ts';
import { moveToTrash, removeEmptyParents, trashPathOf } from './trash.ts';
import { MAX_RESOLVE, parseFromPeer, RESOLVE_ANSWER } from './wire.ts';

const ASK_TIMEOUT_MS = 5000;

interface Parts {
  readonly context: DepositContext;
  readonly journal: IntakeJournal;
  readonly held: HeldFiles;
  readonly lock: KeyedLock;
  readonly running: RunningUploads;
}

/** Removes the temps that another process left: exactly the names that ours would have. */
export async function removeLeftTemps(context: DepositContext): Promise<number> {
  const { store, log, tempTag } = context;
  await store.assertSame();
  const names = await fs.readdir(store.at(TEMP_DIRECTORY)).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  let removed = 0;
  for (const name of names) {
    if (!isTempName(name) || name.startsWith(tempTag)) continue;
    try {
      await fs.unlink(store.at(`${TEMP_DIRECTORY}/${name}`));
      removed += 1;
    } catch (error) {
      log.warn('deposit.temp-kept', { name, error: describeError(error) });
    }
  }
  if (removed > 0) log.info('deposit.temps-removed', { removed });
  return removed;
}

/** The peer's word on deposits: those it has a row of or an upload running for. Null when it cannot be had. */
async function askPeer(
  context: DepositContext,
  ids: readonly DepositId[],
  signal: AbortSignal,
): Promise<ReadonlySet<DepositId> | null> {
  const { link, log } = context;
  // Without a peer there is nobody who could know it.
  if (!link) return new Set();
  if (!context.peerAlive()) return null;
  try {
    const options = { signal, timeoutMs: ASK_TIMEOUT_MS };
    const answer = await link.request('deposit.resolve', { ids }, options);
    return new Set(parseFromPeer(RESOLVE_ANSWER, answer).known);
  } catch (error) {
    log.debug('deposit.resolve-failed', { error: describeError(error) });
    return null;
  }
}

/** Moves one unclaimed file aside, unless anything changed since it was judged. */
async function toTrash(parts: Parts, entry: OpenIntake): Promise<void> {
  const { context, journal, held, lock, running } = parts;
  const { store, needs, log, metrics } = context;
  const { file } = entry;
  await lock.run(file.depositId, async () => {
    // The lock is ensureHeld's too: nobody can vouch for the file between the question and the move.
    if (journal.open().get(file.path) !== entry || running.has(file.depositId)) return;
    if ((await needs.known([file.depositId])).has(file.depositId)) return;
    await store.assertSame();
    held.forget(file);
    try {
      await moveToTrash(store, file.path, trashPathOf(file));
      await removeEmptyParents(store, file.path);
      metrics.count('deposit_intake_trashed_total', 'Files of requests that never committed');
      log.info('deposit.unfinished-trashed', { path: file.path, role: entry.role });
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' && systemCode(error) !== 'ENOTDIR') throw error;
      // Killed before the rename: only the journal line exists, and perhaps empty directories.
      await removeEmptyParents(store, file.path);
    }
    journal.resolved(file.path);
  });
}

async function judgeBatch(parts: Parts, entries: readonly OpenIntake[], signal: AbortSignal) {
  const { context, journal } = parts;
  const ids = [...new Set(entries.map((entry) => entry.file.depositId))];
  const here = await context.needs.known(ids);
  const open: OpenIntake[] = [];
  for (const entry of entries) {
    if (here.has(entry.file.depositId)) journal.claimed(entry.file.path);
    else open.push(entry);
  }
  if (open.length === 0) return;
  const asked = [...new Set(open.map((entry) => entry.file.depositId))];
  const there = await askPeer(context, asked, signal);
  if (!there) return;
  for (const entry of open) {
    if (signal.aborted || there.has(entry.file.depositId)) continue;
    try {
      await toTrash(parts, entry);
    } catch (error) {
      if (error instanceof AppError && error.code === 'store-failed') throw error;
      const detail = { path: entry.file.path, error: describeError(error) };
      context.log.warn('deposit.unfinished-kept', detail);
    }
  }
}

/** One look at everything that is open and old enough. */
export async function judgeIntake(parts: Parts, signal: AbortSignal): Promise<void> {
  const { context, journal, running } = parts;
  const bornBeforeMs = context.clock.monotonicMs() - context.pace.judgeAfterMs;
  const due = [...journal.open().values()].filter(
    (entry) => entry.sinceMs <= bornBeforeMs && !running.has(entry.file.depositId),
  );
  for (let at = 0; at < due.length && !signal.aborted; at += MAX_RESOLVE) {
    await judgeBatch(parts, due.slice(at, at + MAX_RESOLVE), signal);
  }
}

export function createIntakeJudge(parts: Parts): Service {
  const { clock, pace } = parts.context;
  return {
    name: 'deposit-intake',
    async run({ signal, ready }) {
      await removeLeftTemps(parts.context);
      ready();
      while (!signal.aborted) {
        await unlessDatabaseDown(() => judgeIntake(parts, signal));
        await clock.sleep(pace.judgeEveryMs, signal);
      }
    },
  };
}
