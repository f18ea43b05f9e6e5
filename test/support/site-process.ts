/**
 * A site as its users run it: the compiled binary, its own directories, real ports. Nothing of the
 * product's code is used here, so that what the tests see is what anybody would see.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, existsSync, promises as fs, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const BINARY = fileURLToPath(new URL('../../dist/twinsite', import.meta.url));

export interface SiteOptions {
  readonly name: string;
  readonly root: string;
  readonly store: string;
  readonly filestore: string;
  readonly identity?: string;
  readonly peerStore?: string;
  /** Overrides where the peer is dialled, e.g. through a proxy of the test's. */
  readonly peer?: string;
  readonly port: number;
  readonly peerPort: number;
  readonly flags?: readonly string[];
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the binary to its end. */
export async function runBinary(
  args: readonly string[],
  options: {
    readonly input?: string;
    readonly env?: Record<string, string>;
    readonly cwd?: string;
    readonly timeoutMs?: number;
  } = {},
): Promise<RunResult> {
  const child = Bun.spawn([BINARY, ...args], {
    stdin: options.input === undefined ? 'ignore' : new TextEncoder().encode(options.input),
    stdout: 'pipe',
    stderr: 'pipe',
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  return { code, stdout, stderr };
}

/** Ports that nobody uses at the moment. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<net.Server>((resolve, reject) => {
          const server = net.createServer();
          server.on('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Polls until `probe` gives something other than null/undefined/false; throws with `what` at the deadline. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  timeoutMs = 30_000,
  everyMs = 50,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== null && value !== undefined && value !== false) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > end) {
      throw new Error(
        `not within ${timeoutMs} ms: ${what}${lastError ? ` (${String(lastError)})` : ''}`,
      );
    }
    await Bun.sleep(everyMs);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: documents of the outside, looked at field by field
export type Json = any;

export class SiteProcess {
  readonly options: SiteOptions;
  readonly data: string;
  readonly logFile: string;
  readonly url: string;
  private child: ChildProcess | null = null;
  private ended: Promise<number> = Promise.resolve(0);

  constructor(options: SiteOptions) {
    this.options = options;
    this.data = path.join(options.root, 'data');
    this.logFile = path.join(path.dirname(options.root), `${options.name}.log`);
    this.url = `http://127.0.0.1:${options.port}`;
  }

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error(`${this.options.name} does not run`);
    return this.child.pid;
  }

  get running(): boolean {
    return this.child !== null;
  }

  arguments(): string[] {
    const o = this.options;
    return [
      'serve',
      '--data',
      this.data,
      '--store',
      o.store,
      '--filestore',
      o.filestore,
      '--listen',
      `127.0.0.1:${o.port}`,
      '--peer-listen',
      `127.0.0.1:${o.peerPort}`,
      ...(o.identity ? ['--identity', o.identity] : []),
      ...(o.peerStore ? ['--peer-store', o.peerStore] : []),
      ...(o.peer ? ['--peer', o.peer] : []),
      ...(o.flags ?? []),
    ];
  }

  async start(): Promise<void> {
    if (this.child) throw new Error(`${this.options.name} runs already`);
    await fs.mkdir(this.options.root, { recursive: true });
    const log = createWriteStream(this.logFile, { flags: 'a' });
    const child = spawn(BINARY, this.arguments(), { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    this.child = child;
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (this.child === child) this.child = null;
        resolve(code ?? (signal === 'SIGKILL' ? 137 : 1));
      });
    });
  }

  /** Starts it and waits until a deposit would be accepted. */
  async startReady(timeoutMs = 40_000): Promise<void> {
    await this.start();
    await this.ready(timeoutMs);
  }

  async ready(timeoutMs = 40_000): Promise<void> {
    await until(
      `${this.options.name} ready`,
      async () => {
        if (!this.child) throw new Error(`${this.options.name} ended: ${this.tail()}`);
        return (await fetch(`${this.url}/readyz`)).status === 200;
      },
      timeoutMs,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.tail()}`);
    });
  }

  async inState(state: string, timeoutMs = 40_000): Promise<Json> {
    return until(
      `${this.options.name} in state ${state}`,
      async () => {
        const status = await this.status();
        return status.state === state ? status : null;
      },
      timeoutMs,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.tail()}`);
    });
  }

  async status(): Promise<Json> {
    return (await fetch(`${this.url}/status`, { signal: AbortSignal.timeout(5000) })).json();
  }

  /** SIGKILL and wait for the end of the process itself. */
  async kill9(): Promise<void> {
    this.child?.kill('SIGKILL');
    await this.ended;
  }

  /** SIGTERM; returns the exit code. */
  async stop(timeoutMs = 30_000): Promise<number> {
    const child = this.child;
    if (!child) return this.ended;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const code = await this.ended;
    clearTimeout(timer);
    return code;
  }

  async exitCode(): Promise<number> {
    return this.ended;
  }

  /** The file that PostgreSQL itself keeps: pid in line 1, socket directory in line 5. */
  postmaster(): { pid: number; socketDirectory: string } | null {
    const file = path.join(this.data, 'postgres', 'cluster', 'postmaster.pid');
    if (!existsSync(file)) return null;
    const lines = readFileSync(file, 'utf8').split('\n');
    return { pid: Number(lines[0]), socketDirectory: lines[4] ?? '' };
  }

  tail(lines = 25): string {
    try {
      return `--- ${this.options.name}\n${readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')}`;
    } catch {
      return `--- ${this.options.name}: no log`;
    }
  }

  /** An administrator's command against this site; throws unless it exits 0. */
  async admin(...args: string[]): Promise<Json> {
    const result = await runBinary([...args, '--data', this.data, '--json']);
    if (result.code !== 0)
      throw new Error(`${args.join(' ')}: exit ${result.code} ${result.stderr}`);
    return result.stdout.trim() === '' ? null : JSON.parse(result.stdout);
  }
}
