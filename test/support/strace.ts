/** System calls of running processes, in the order in which the kernel saw them return. */
import { type ChildProcess, spawn } from 'node:child_process';
import { promises as fs, readdirSync, readFileSync } from 'node:fs';
import { until } from './site-process.ts';

export interface Call {
  readonly at: number;
  readonly pid: number;
  readonly name: string;
  readonly text: string;
}

/** A process and everything below it. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      parents.set(
        Number(name),
        Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]),
      );
    } catch {
      // ended meanwhile
    }
  }
  const tree = [root];
  for (const pid of tree)
    for (const [child, parent] of parents) if (parent === pid) tree.push(child);
  return tree;
}

export class Trace {
  private readonly child: ChildProcess;
  private readonly file: string;

  private constructor(child: ChildProcess, file: string) {
    this.child = child;
    this.file = file;
  }

  /** Attaches to all processes; resolves once every one is attached. */
  static async attach(pids: readonly number[], file: string): Promise<Trace> {
    const calls =
      'fsync,fdatasync,rename,renameat,renameat2,sync_file_range,syncfs,openat,write,writev,sendto,sendmsg';
    const child = spawn(
      'strace',
      [
        '-f',
        '-ttt',
        '-T',
        '-y',
        '-s',
        '64',
        '-e',
        `trace=${calls}`,
        '-o',
        file,
        ...pids.flatMap((pid) => ['-p', String(pid)]),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let told = '';
    child.stderr?.on('data', (chunk) => (told += chunk));
    await until(
      'strace attached',
      () => pids.every((pid) => told.includes(`Process ${pid} attached`)),
      15_000,
    );
    return new Trace(child, file);
  }

  /** Detaches and gives the calls by the moment of their return. */
  async end(): Promise<Call[]> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGINT');
    await ended;
    const pending = new Map<number, string>();
    const calls: Call[] = [];
    for (const line of (await fs.readFile(this.file, 'utf8')).split('\n')) {
      const match = /^(\d+)\s+(\d+\.\d+) (.*)$/.exec(line);
      if (!match) continue;
      const pid = Number(match[1]);
      let text = match[3] ?? '';
      if (text.endsWith('<unfinished ...>')) {
        pending.set(pid, text.replace(/\s*<unfinished \.\.\.>$/, ''));
        continue;
      }
      const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
      // A resumed line's own time is that of its return; a whole line's is its start, -T gives the length.
      let at = Number(match[2]);
      if (resumed) text = `${pending.get(pid) ?? ''}${resumed[1]}`;
      else at += Number(/<(\d+\.\d+)>$/.exec(text)?.[1] ?? 0);
      if (!/= -?\d+/.test(text)) continue;
      calls.push({ at, pid, name: /^(\w+)\(/.exec(text)?.[1] ?? '', text });
    }
    return calls.sort((a, b) => a.at - b.at);
  }
}
