/** One run of the server: started through the launcher, its log read, stopped by the ladder. */
import { AppError } from '../../../core/errors.ts';
import type { Clock, Log } from '../../../core/ports.ts';
import type { Owner } from '../../../platform/archive.ts';
import { selfCommand } from '../../../platform/self.ts';
import type { ServerBinaries } from './binaries.ts';
import { launchArguments } from './launch.ts';
import { STOP_LADDER } from './leftovers.ts';
import { parseServerLine, splitLines } from './log-lines.ts';

export interface ServerProcess {
  readonly pid: number;
  /** Resolves, never rejects, with what ended it, e.g. `exit code 1` or `SIGKILL`. */
  readonly exited: Promise<string>;
  hasExited(): boolean;
  /** The last FATAL or PANIC line, which says why it ended. */
  lastFatal(): string | null;
  /** Reads its configuration again. */
  reload(): void;
  /** Fast, then immediate, then SIGKILL; resolves when it is gone. Under 20 s. */
  stop(): Promise<void>;
}

export interface ServerProcessOptions {
  readonly binaries: ServerBinaries;
  readonly cluster: string;
  /** Directory of postgresql.conf and pg_hba.conf. */
  readonly configuration: string;
  readonly owner: Owner | null;
  readonly readSearch: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

function serverArguments(options: ServerProcessOptions): string[] {
  return [
    options.binaries.program,
    '-D',
    options.cluster,
    '-c',
    `config_file=${options.configuration}/postgresql.conf`,
    '-c',
    `hba_file=${options.configuration}/pg_hba.conf`,
    '-c',
    `ident_file=${options.configuration}/pg_ident.conf`,
  ];
}

function environment(binaries: ServerBinaries): Record<string, string> {
  const fallback = binaries.fallbackLibraries;
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    LC_ALL: 'C',
    TZ: 'UTC',
    ...(fallback === null ? {} : { LD_LIBRARY_PATH: fallback }),
  };
}

/** Waits for `event`, at most `ms`; leaves no timer behind. */
async function within(clock: Clock, ms: number, event: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([event, clock.sleep(ms, over.signal)]);
  over.abort();
}

/** Starts the server; it may not accept connections yet. */
export function startServer(options: ServerProcessOptions): ServerProcess {
  const { clock, owner } = options;
  const log = options.log.child({ component: 'postgres' });
  const wishes = {
    parent: process.pid,
    ...(owner === null ? {} : owner),
    readSearch: options.readSearch,
    argv: serverArguments(options),
  };
  const child = Bun.spawn(selfCommand('internal', ...launchArguments(wishes)), {
    cwd: '/',
    env: environment(options.binaries),
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  });
  let fatal: string | null = null;
  let exited = false;
  const reading = (async () => {
    for await (const text of splitLines(child.stderr)) {
      const line = parseServerLine(text);
      if (line.level === 'error') fatal = line.message;
      if (line.severity === 'STDERR') fatal ??= line.message;
      const { level, severity, message, sqlstate, backend } = line;
      log[level]('postgres.log', { severity, message, sqlstate, backend });
    }
  })().catch(() => undefined);
  const gone = child.exited.then(async (code): Promise<string> => {
    exited = true;
    // Backends may hold the pipe a moment longer than the postmaster lives.
    await within(clock, 500, reading);
    return child.signalCode === null ? `exit code ${code}` : String(child.signalCode);
  });
  return {
    pid: child.pid,
    exited: gone,
    hasExited: () => exited,
    lastFatal: () => fatal,
    reload: () => {
      if (!exited) child.kill('SIGHUP');
    },
    stop: async () => {
      for (const rung of STOP_LADDER) {
        if (exited) break;
        child.kill(rung.signal);
        await within(clock, rung.deadlineMs, gone);
      }
      if (!exited) {
        throw new AppError('database-down', `PostgreSQL (process ${child.pid}) cannot be ended.`);
      }
    },
  };
}
