/** Keeps the trash within its bounds: by age in uptime, and by its share of the file system. */
import { rm, statfs } from 'node:fs/promises';
import type { Service } from '../../../core/service.ts';
import { nameOf, parentOf } from '../../../core/tree-path.ts';
import type { KeptFile } from '../index/kept-list.ts';
import type { FilesContext } from '../scan/context.ts';
import { OpenDirectories } from '../scan/open-directories.ts';

export interface TrashLimits {
  readonly days: number;
  /** Share of the file system, 0 to 1. */
  readonly maxRatio: number;
}

const PASS_MS = 60_000;
const DAY_MS = 24 * 3_600_000;
const BATCH = 500;

export function createTrashKeeper(context: () => FilesContext, limits: TrashLimits): Service {
  return {
    name: 'files-trash',
    run: async ({ signal, clock, ready }) => {
      ready();
      let lastMs = clock.monotonicMs();
      while (!signal.aborted) {
        await clock.sleep(PASS_MS, signal);
        if (signal.aborted) return;
        const nowMs = clock.monotonicMs();
        await pass(context(), limits, nowMs - lastMs);
        lastMs = nowMs;
      }
    },
  };
}

/** One pass; `elapsedMs` of uptime went by since the last one. */
export async function pass(
  context: FilesContext,
  limits: TrashLimits,
  elapsedMs: number,
): Promise<void> {
  const { index } = context;
  index.write(() => index.kept.grow(elapsedMs));
  await purge(context, index.kept.oldestTrash(limits.days * DAY_MS, BATCH));
  const { blocks, bsize } = await statfs(context.store.at('.'));
  const most = blocks * bsize * limits.maxRatio;
  let over = false;
  while (index.kept.counts('trash').bytes > most) {
    over = true;
    const oldest = index.kept.oldestTrash(0, 16);
    if (oldest.length === 0) break;
    await purge(context, oldest);
  }
  if (!over) return context.alarms.clear('trash-full');
  context.alarms.raise({
    code: 'trash-full',
    severity: 'warning',
    text: 'the trash reached --trash-max: the oldest versions were removed before --trash-days',
    runbook: 'operations.md#trash-full',
  });
}

async function purge(context: FilesContext, files: readonly KeptFile[]): Promise<void> {
  if (files.length === 0) return;
  await context.store.assertSame();
  await using directories = new OpenDirectories(context.store);
  for (const file of files) {
    await directories
      .use(parentOf(file.place), (directory) =>
        rm(directory.at(nameOf(file.place)), { force: true }),
      )
      .catch(() => undefined);
  }
  context.index.write(() => {
    for (const file of files) context.index.kept.remove(file.place);
  });
}
