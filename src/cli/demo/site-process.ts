/** One site of a demo: this very program as a child process, with its log in a file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError } from '../../core/errors.ts';
import { systemClock } from '../../platform/clock.ts';
import { selfCommand } from '../../platform/self.ts';
import { parseAnswer, type StatusAnswer, statusAnswer } from '../admin/answers.ts';
import { type AdminRequest, askAdmin } from '../admin/client.ts';
import { findAdminSocket } from '../admin/socket-path.ts';
import type { DemoSiteLayout } from './layout.ts';

export interface SiteEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface SiteStart {
  readonly layout: DemoSiteLayout;
  readonly args: readonly string[];
  readonly port: number;
}

const STOP_TIMEOUT_MS = 60_000;
const REQUEST_TIMEOUT_MS = 5_000;

export class DemoSite {
  readonly layout: DemoSiteLayout;
  readonly url: string;
  /** The whole command line, to start it by hand. */
  readonly command: readonly [string, ...string[]];
  private child: ChildProcess | null = null;
  private ended: Promise<SiteEnd> = Promise.resolve({ code: 0, signal: null });

  constructor(start: SiteStart) {
    this.layout = start.layout;
    this.url = `http://127.0.0.1:${start.port}`;
    this.command = selfCommand(...start.args);
  }

  get name(): string {
    return this.layout.name;
  }

  get running(): boolean {
    return this.child !== null;
  }

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error(`site ${this.name} does not run`);
    return this.child.pid;
  }

  /** Starts the child in a session of its own, so that Ctrl-C reaches it only through us. */
  async start(): Promise<void> {
    const log = await fs.open(this.layout.log, 'a');
    try {
      const [program, ...args] = this.command;
      const child = spawn(program, args, {
        stdio: ['ignore', log.fd, log.fd],
        detached: true,
        env: childEnvironment(),
      });
      this.child = child;
      this.ended = new Promise((resolve) => {
        const end = (code: number | null, signal: string | null) => {
          if (this.child === child) this.child = null;
          resolve({ code, signal });
        };
        child.once('exit', end);
        child.once('error', () => end(null, null));
      });
    } finally {
      await log.close();
    }
  }

  /** Resolves when the process that runs now has ended. */
  end(): Promise<SiteEnd> {
    return this.ended;
  }

  /** The status document over HTTP; null while it is not to be had. */
  async status(): Promise<StatusAnswer | null> {
    try {
      const response = await fetch(`${this.url}/status`, {
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const body: unknown = response.ok ? await response.json() : null;
      return body === null ? null : parseAnswer(statusAnswer, body);
    } catch (error) {
      if (error instanceof AppError) throw error;
      return null;
    }
  }

  /** True when `GET /readyz` says 200. */
  async isReady(): Promise<boolean> {
    return await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) })
      .then(async (response) => {
        await response.body?.cancel();
        return response.status === 200;
      })
      .catch(() => false);
  }

  /** One request on the admin socket. */
  async admin(request: AdminRequest): Promise<unknown> {
    const socket = await findAdminSocket({
      flags: { data: this.layout.data, config: this.layout.config },
      env: {},
      cwd: this.layout.root,
    });
    return askAdmin(socket, request);
  }

  /** SIGTERM, and SIGKILL when it does not end within a minute. */
  async stop(): Promise<SiteEnd> {
    const child = this.child;
    if (!child) return this.ended;
    child.kill('SIGTERM');
    const patience = new AbortController();
    const ended = await Promise.race([
      this.ended.finally(() => patience.abort()),
      systemClock.sleep(STOP_TIMEOUT_MS, patience.signal).then(() => null),
    ]);
    if (ended) return ended;
    await this.destroy();
    return this.ended;
  }

  /** SIGKILL to the process and everything it started, PostgreSQL first among them, all at once. */
  async destroy(): Promise<void> {
    const child = this.child;
    if (!child?.pid) return;
    const pids = [child.pid, ...(await descendants(child.pid))];
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself in the meantime.
      }
    }
    await this.ended;
  }

  /** The end of its log. */
  async tail(lines = 15): Promise<string> {
    const text = await fs.readFile(this.layout.log, 'utf8').catch(() => '(no log)');
    const last = text.trimEnd().split('\n').slice(-lines);
    return [`--- ${path.basename(this.layout.log)}`, ...last].join('\n');
  }
}

/** Ours without settings: they would reach both sites. */
function childEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('TWINSITE_')),
  );
}

/** Every process below `root`, as /proc shows it at this moment. */
async function descendants(root: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const name of await fs.readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await fs.readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    // The command's name may hold anything; the parent is the second field after it.
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    if (parent > 0) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  const queue = [root];
  for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
    const below = children.get(pid) ?? [];
    found.push(...below);
    queue.push(...below);
  }
  return found;
}
