/** Gives a complete, flushed temp its place under `deposits/`, without ever replacing anything. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { isPathOf } from '../../../core/deposit-path.ts';
import { AppError, systemCode } from '../../../core/errors.ts';
import { renameExchange, renameNoReplace } from '../../../platform/libc.ts';
import type { DepositContext, IntakeRole, PlacedFile } from './context.ts';
import type { Directories } from './directories.ts';
import type { HeldFiles } from './held-files.ts';
import type { IntakeJournal } from './intake-journal.ts';
import type { KeyedLock } from './keyed-lock.ts';
import { storeError, withinStoreDeadline } from './store-errors.ts';
import type { FinishedTemp } from './temp-file.ts';
import { makeTrash, moveToTrash, rotPathOf } from './trash.ts';

/** 10 MiB/s */
const SLOWEST_READ_BYTES_PER_MS = 10_486;

const CONFLICT_ALARM = 'deposit-path-conflict';

export interface Publisher {
  /**
   * Publishes durably; equal content at the path is taken as this file and the temp is dropped.
   * Throws AppError `conflict` when other content lies there, `storage` or `store-failed`.
   */
  publish(temp: FinishedTemp, file: PlacedFile, role: IntakeRole): Promise<void>;
  /** The healer's publish: content at the path that is not the row's goes to the trash. */
  replace(temp: FinishedTemp, file: PlacedFile): Promise<void>;
}

/** Throws AppError `bad-request` unless the path is exactly the one of the ids and the name. */
export function requireOwnPath(file: Pick<PlacedFile, 'id' | 'depositId' | 'name' | 'path'>): void {
  if (!isPathOf(file)) {
    throw new AppError('bad-request', `${JSON.stringify(file.path)} is not the path of its file.`);
  }
}

/** rename(2) without replacing; link + unlink where the file system has no such rename (NFS). */
async function place(from: string, to: string): Promise<void> {
  try {
    renameNoReplace(from, to);
  } catch (error) {
    if (systemCode(error) !== 'EINVAL') throw error;
    await fs.link(from, to); // crash here: the file is whole under both names
    await fs.unlink(from);
  }
}

interface Parts {
  readonly context: DepositContext;
  readonly directories: Directories;
  readonly held: HeldFiles;
  readonly journal: IntakeJournal;
  readonly lock: KeyedLock;
}

/** After the rename: is it our temp, in the file system of the checked root? */
async function assertPlaced(context: DepositContext, temp: FinishedTemp, file: PlacedFile) {
  const { store } = context;
  const there = await fs.lstat(store.at(file.path), { bigint: true });
  const root = await fs.stat(store.at('.'), { bigint: true });
  if (there.dev === root.dev && there.dev === temp.device && there.ino === temp.inode) return;
  store.doubt(`${file.path} is not in the file system of the store`);
  throw new AppError('store-failed', `The store ${store.root} changed while a file was published.`);
}

/** What lies at the path already: equal content is as good as ours, other content is an alarm. */
async function adopt({ context, held }: Parts, temp: FinishedTemp, file: PlacedFile) {
  const finding = await held.verify(file);
  if (finding !== 'right') {
    context.alarms.raise({
      code: CONFLICT_ALARM,
      severity: 'critical',
      text: `Other content lies at ${file.path} than the deposit's. Nothing was replaced.`,
      runbook: 'operations.md#deposit-path-conflict',
    });
    throw new AppError('conflict', `Other content lies at ${file.path}; nothing was replaced.`);
  }
  await temp.discard();
}

/** Resolves true when the temp was placed, false when equal content lay there already. */
async function publishNew(parts: Parts, temp: FinishedTemp, file: PlacedFile): Promise<boolean> {
  const { context, directories, held } = parts;
  const { store } = context;
  const toFlush = await directories.make(path.posix.dirname(file.path));
  context.failpoint('directories-made'); // crash here: empty directories
  try {
    await place(store.at(temp.path), store.at(file.path));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw storeError(store, error, `publish ${file.path}`);
    await adopt(parts, temp, file);
    return false;
  }
  temp.released();
  context.failpoint('renamed'); // crash here: a whole file without a row; the intake journal names it
  await directories.flush(toFlush);
  context.failpoint('directories-synced'); // crash here and below: the same, durable
  await assertPlaced(context, temp, file);
  await held.remember(file);
  return true;
}

/** Swaps temp and wrong content in one step, so that the path is never empty; then the trash. */
async function swapWrong(parts: Parts, temp: FinishedTemp, file: PlacedFile): Promise<void> {
  const { context, directories, held } = parts;
  const { store } = context;
  await makeTrash(store);
  try {
    renameExchange(store.at(temp.path), store.at(file.path));
  } catch (error) {
    if (systemCode(error) !== 'EINVAL') throw error;
    await moveToTrash(store, file.path, rotPathOf(file)); // crash here: missing; pulled again
    await publishNew(parts, temp, file);
    return;
  }
  // Crash here: the right bytes are in place, the wrong ones are a temp that the next start removes.
  await moveToTrash(store, temp.path, rotPathOf(file));
  temp.released();
  await directories.flush(directories.chain(path.posix.dirname(file.path)));
  await assertPlaced(context, temp, file);
  await held.remember(file);
}

async function replaceWrong(parts: Parts, temp: FinishedTemp, file: PlacedFile): Promise<void> {
  const finding = await parts.held.verify(file);
  if (finding === 'right') return await temp.discard();
  if (finding === 'missing') {
    await publishNew(parts, temp, file);
    return;
  }
  parts.context.log.warn('deposit.wrong-content-trashed', { path: file.path });
  await swapWrong(parts, temp, file);
  parts.context.alarms.clear(CONFLICT_ALARM);
}

export function createPublisher(parts: Parts): Publisher {
  const { store, clock, pace, failpoint } = parts.context;

  const checked = async (file: PlacedFile, work: () => Promise<void>) => {
    requireOwnPath(file);
    const doing = `publish ${file.path}`;
    const all = async () => {
      await store.assertSame();
      await work();
      // The mount may have gone while we wrote: then what we did is nowhere that counts.
      await store.assertSame();
      failpoint('published');
    };
    try {
      // Content that lies there already is read again: that takes as long as the file is large.
      const deadlineMs = pace.storeDeadlineMs + file.sizeBytes / SLOWEST_READ_BYTES_PER_MS;
      await withinStoreDeadline(clock, store, deadlineMs, doing, all());
    } catch (error) {
      parts.held.forget(file);
      throw storeError(store, error, doing);
    }
  };
  return {
    publish: (temp, file, role) =>
      parts.lock.run(file.depositId, () =>
        checked(file, async () => {
          const { journal } = parts;
          const ours = journal.open().has(file.path);
          journal.published(file, role);
          failpoint('journal-written'); // crash here: a journal line without a file, and a temp
          let placed = false;
          try {
            placed = await publishNew(parts, temp, file);
          } finally {
            // What lay there before is not this request's: it must never be judged as unfinished.
            if (!placed && !temp.isReleased() && !ours) journal.resolved(file.path);
          }
        }),
      ),
    replace: (temp, file) =>
      parts.lock.run(file.depositId, () => checked(file, () => replaceWrong(parts, temp, file))),
  };
}
