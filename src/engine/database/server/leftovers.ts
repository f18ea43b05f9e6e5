/** A server of an earlier life of this site: stopped before a new one starts on the same cluster. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, systemCode } from '../../../core/errors.ts';
import type { Clock, Log } from '../../../core/ports.ts';

/** How each rung of the stop ladder is sent and how long it may take. */
export const STOP_LADDER = [
  { signal: 'SIGINT', deadlineMs: 8_000 },
  { signal: 'SIGQUIT', deadlineMs: 5_000 },
  { signal: 'SIGKILL', deadlineMs: 3_000 },
] as const;

/** The pid in postmaster.pid's text, or null when there is none. A standalone backend has a negative one. */
export function parsePidFile(text: string): number | null {
  const pid = Number.parseInt(text.split('\n')[0] ?? '', 10);
  return Number.isSafeInteger(pid) && pid !== 0 ? Math.abs(pid) : null;
}

/** The server's own word on its state (`starting`, `ready`, `stopping`), from postmaster.pid's text. */
export function parsePidFileStatus(text: string): string | null {
  return text.split('\n')[7]?.trim() ?? null;
}

/**
 * Whether `pid` is a PostgreSQL server that runs on `cluster`: by its command line, which anyone may
 * read, and by its working directory where we may look.
 */
export async function isServerOf(pid: number, cluster: string): Promise<boolean> {
  const commandLine = await fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const [program = '', ...args] = commandLine.split('\0');
  const real = await fs.realpath(cluster);
  const named = args[args.indexOf('-D') + 1] ?? '';
  const isOurs = args.includes('-D') && (await fs.realpath(named).catch(() => '')) === real;
  if (path.basename(program) !== 'postgres' || !isOurs) return false;
  const cwd = await fs.readlink(`/proc/${pid}/cwd`).catch(() => real);
  return cwd === real;
}

function signalPid(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Stops a server that an earlier process left running on `cluster`, and removes a stale pid file.
 * Resolves when nothing runs there. Throws AppError `data-locked` when it cannot be stopped.
 */
export async function removeLeftovers(
  cluster: string,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const pidFile = path.join(cluster, 'postmaster.pid');
  const text = await fs.readFile(pidFile, 'utf8').catch(() => null);
  if (text === null) return;
  const pid = parsePidFile(text);
  if (pid !== null && (await isServerOf(pid, cluster))) {
    log.warn('postgres.leftover', { pid });
    await stopLeftover(pid, cluster, clock, signal);
  }
  // Stale: PostgreSQL would trust it if any process had that pid by now.
  await fs.rm(pidFile, { force: true });
}

async function stopLeftover(
  pid: number,
  cluster: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  for (const rung of STOP_LADDER) {
    if (!signalPid(pid, rung.signal)) return;
    const deadline = clock.monotonicMs() + rung.deadlineMs;
    while (clock.monotonicMs() < deadline) {
      if (!(await isServerOf(pid, cluster))) return;
      await clock.sleep(25, signal);
      if (signal.aborted) throw new AppError('database-down', 'Stopped while starting.');
    }
  }
  throw new AppError(
    'data-locked',
    `Another PostgreSQL (process ${pid}) runs on ${cluster} and does not end: it hangs on its disk?`,
    { kind: 'transient' },
  );
}
