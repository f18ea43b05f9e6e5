/**
 * Which files this site placed whose rows it has not seen: one JSON line per fact, appended before
 * the rename and after the commit. Not flushed: a lost line leaves a file that is counted as
 * unclaimed, nothing worse.
 */
import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { isPathOf } from '../../../core/deposit-path.ts';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import { type DepositId, type FileId, parseDepositId, parseFileId } from '../../../core/ids.ts';
import type { Log } from '../../../core/ports.ts';
import type { IntakeRole, PlacedFile } from './context.ts';

/** Lines after which the journal is written anew with what is still open. */
const MAX_LINES = 20_000;
/** Open entries that are kept; older ones are forgotten and show up as unclaimed. */
const MAX_OPEN = 100_000;

const PUBLISHED = z.object({
  did: z.literal('publish'),
  role: z.enum(['origin', 'peer']),
  deposit: z.string().max(36),
  file: z.string().max(36),
  name: z.string().max(1024),
  path: z.string().max(1024),
  bytes: z.number().int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
const CLOSED = z.object({ did: z.enum(['committed', 'resolved']), path: z.string().max(1024) });
const LINE = z.union([PUBLISHED, CLOSED]);

export interface OpenIntake {
  readonly role: IntakeRole;
  readonly file: PlacedFile;
  /** Monotonic time of this process when it was written or found. */
  readonly sinceMs: number;
}

export interface IntakeJournal {
  /** Before the rename. */
  published(file: PlacedFile, role: IntakeRole): void;
  /** Its row is here: the file is claimed. Cheap when nothing is open. */
  claimed(filePath: string): void;
  /** It was judged: moved to the trash, or gone. */
  resolved(filePath: string): void;
  /** Entries are compared by identity: a new publish of one path is a new entry. */
  open(): ReadonlyMap<string, OpenIntake>;
  close(): void;
}

function parseLine(text: string): z.infer<typeof LINE> | null {
  try {
    const parsed = LINE.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // a torn last line of a process that was killed
  }
}

function entryOf(line: z.infer<typeof PUBLISHED>, nowMs: number): OpenIntake | null {
  const depositId: DepositId | null = parseDepositId(line.deposit);
  const id: FileId | null = parseFileId(line.file);
  if (!depositId || !id) return null;
  const file = {
    id,
    depositId,
    name: line.name,
    path: line.path,
    sizeBytes: line.bytes,
    sha256: line.sha256,
  };
  return isPathOf(file) ? { role: line.role, file, sinceMs: nowMs } : null;
}

const render = ({ role, file }: OpenIntake) =>
  JSON.stringify({
    did: 'publish',
    role,
    deposit: file.depositId,
    file: file.id,
    name: file.name,
    path: file.path,
    bytes: file.sizeBytes,
    sha256: file.sha256,
  });

function readOpen(journal: string, nowMs: number): Map<string, OpenIntake> {
  const open = new Map<string, OpenIntake>();
  let text = '';
  try {
    text = readFileSync(journal, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  for (const one of text.split('\n')) {
    const line = parseLine(one);
    if (line?.did !== 'publish') {
      if (line) open.delete(line.path);
      continue;
    }
    const entry = entryOf(line, nowMs);
    if (entry) open.set(line.path, entry);
  }
  return open;
}

/** Opens `<data>/intake.journal`, compacted. Throws AppError `no-permission` when it cannot. */
export function openIntakeJournal(dataDir: string, nowMs: () => number, log: Log): IntakeJournal {
  const journal = path.join(dataDir, 'intake.journal');
  const fresh = `${journal}.new`;
  let fd = -1;
  let lines = 0;

  const compact = (entries: ReadonlyMap<string, OpenIntake>) => {
    if (fd >= 0) closeSync(fd);
    fd = -1;
    const text = [...entries.values()].map((entry) => `${render(entry)}\n`).join('');
    rmSync(fresh, { force: true });
    writeFileSync(fresh, text, { mode: 0o600, flag: 'wx' });
    renameSync(fresh, journal); // crash before: the old journal; after: the new one
    fd = openSync(journal, 'a', 0o600);
    lines = entries.size;
  };
  const start = () => {
    try {
      const entries = readOpen(journal, nowMs());
      compact(entries);
      return entries;
    } catch (error) {
      const detail = `Cannot keep ${journal}: ${describeError(error)}. Give this user the right to write there.`;
      throw new AppError('no-permission', detail, { cause: error });
    }
  };
  const open = start();

  const append = (line: string) => {
    // A full data disk must not fail a deposit whose bytes are safe: a lost line leaves it unclaimed.
    try {
      if (fd < 0) fd = openSync(journal, 'a', 0o600);
      writeSync(fd, `${line}\n`);
      lines += 1;
      if (lines > MAX_LINES + 2 * open.size) compact(open);
    } catch (error) {
      log.warn('deposit.journal-line-lost', { journal, error: describeError(error) });
    }
  };
  const closeEntry = (did: 'committed' | 'resolved', filePath: string) => {
    if (open.delete(filePath)) append(JSON.stringify({ did, path: filePath }));
  };
  return {
    published(file, role) {
      const entry: OpenIntake = { role, file, sinceMs: nowMs() };
      open.delete(file.path);
      open.set(file.path, entry);
      const oldest = open.keys().next();
      if (open.size > MAX_OPEN && !oldest.done) open.delete(oldest.value);
      append(render(entry));
    },
    claimed: (filePath) => closeEntry('committed', filePath),
    resolved: (filePath) => closeEntry('resolved', filePath),
    open: () => open,
    close() {
      if (fd >= 0) closeSync(fd);
      fd = -1;
    },
  };
}
