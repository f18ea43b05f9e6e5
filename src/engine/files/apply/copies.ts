/** Brings the losers of conflicts here too, so that both sites keep them. */
import { AppError } from '../../../core/errors.ts';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { PeerLink } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import { type Fetched, fetchContents } from '../exchange/contents-client.ts';
import type { CopyNeeded } from '../index/need-list.ts';
import { type FilesContext, stampNow } from '../scan/context.ts';
import { OpenDirectories } from '../scan/open-directories.ts';
import { flushDirectories } from './flush-directories.ts';
import { copyLocally } from './local-copy.ts';
import { setAside } from './set-aside.ts';
import type { Temp } from './temps.ts';

const BATCH = 16;
const POLL_MS = 1_000;
const MAX_TRIES = 20;

export function createCopies(context: () => FilesContext, link: PeerLink): Service {
  const tries = new Map<number, number>();
  return {
    name: 'files-copies',
    run: async ({ signal, clock, ready }) => {
      ready();
      while (!signal.aborted) {
        const shared = context();
        const wanted =
          shared.figures.scanned && !shared.figures.paused ? shared.index.need.copies(BATCH) : [];
        for (const copy of wanted) {
          if (signal.aborted) return;
          const done = await keepCopy(shared, link, copy, signal).catch((error: unknown) => {
            if (error instanceof AppError) return false;
            throw error;
          });
          const count = (tries.get(copy.id) ?? 0) + 1;
          tries.set(copy.id, count);
          if (!done && count < MAX_TRIES) continue;
          tries.delete(copy.id);
          shared.index.write(() => shared.index.need.removeCopy(copy.id));
        }
        await clock.sleep(POLL_MS, signal);
      }
    },
  };
}

/** The copy as something that contents can be fetched for. */
function asEntry(context: FilesContext, copy: CopyNeeded): ManifestEntry {
  return {
    path: copy.path,
    type: 'file',
    deleted: false,
    size: copy.size,
    hash: copy.hash,
    target: null,
    mode: 0o600,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    mtimeNs: BigInt(Math.round(context.clock.wallMs())) * 1_000_000n,
    version: {},
    stamp: stampNow(context, 0),
    base: null,
    evidence: null,
  };
}

/** True when the copy is kept, or nobody has it. */
async function keepCopy(
  context: FilesContext,
  link: PeerLink,
  copy: CopyNeeded,
  signal: AbortSignal,
): Promise<boolean> {
  const { index } = context;
  if (index.kept.conflictsOf(copy.path).some((kept) => kept.hash === copy.hash)) return true;
  await using directories = new OpenDirectories(context.store);
  const entry = asEntry(context, copy);
  let temp: Temp | null = await copyLocally(context, directories, entry, true);
  if (!temp) {
    const results = new Map<ManifestEntry, Fetched>();
    await fetchContents(context, link, directories, [entry], true, results, signal);
    const fetched = results.get(entry);
    if (fetched?.kind === 'gone') return true;
    if (fetched?.kind !== 'temp') return false;
    temp = fetched.temp;
  }
  const touched = new Set<TreePath>();
  const { path, hash, size, site } = copy;
  const kept = await setAside(
    context,
    directories,
    { kind: 'conflict', name: temp.name, path, hash, size, site },
    touched,
  );
  await flushDirectories(context, directories, touched);
  index.write(() => index.kept.add(kept));
  return true;
}
