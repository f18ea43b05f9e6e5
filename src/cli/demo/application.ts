/**
 * The story's other application: knows nothing of Twinsite, appends a line to a file through the
 * filestore link every 100 ms, and opens the file anew for each line.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../../platform/clock.ts';
import { isOpenToAll } from './layout.ts';

/** "nobody": neither the user of Twinsite nor of PostgreSQL. */
const OTHER_USER = 65_534;
const SCRIPT = `
i=0
while :; do
  i=$((i+1))
  if echo "line $i" >> "$1"; then echo "$i"; else echo "!$i"; fi
  sleep 0.1
done`;

export interface WrittenLine {
  readonly number: number;
  readonly atMs: number;
}

export class Application {
  readonly written: WrittenLine[] = [];
  /** What its shell said about lines that could not be written. */
  readonly errors: string[] = [];
  /** As whom it runs; null: as ourselves. */
  readonly uid: number | null;
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;

  private constructor(file: string, uid: number | null) {
    this.uid = uid;
    this.child = spawn('/bin/sh', ['-c', SCRIPT, 'application', file], {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/bin:/bin' },
      ...(uid === null ? {} : { uid, gid: uid }),
    });
    this.ended = new Promise((resolve) => {
      this.child.once('exit', () => resolve());
      this.child.once('error', (error) => {
        this.errors.push(String(error));
        resolve();
      });
    });
    eachLine(this.child.stdout, (line) => {
      if (line.startsWith('!')) this.errors.push(`line ${line.slice(1)} was not written`);
      else this.written.push({ number: Number(line), atMs: systemClock.monotonicMs() });
    });
    eachLine(this.child.stderr, (line) => this.errors.push(line));
  }

  /** Makes `<filestore>/app`, as root for another user, and starts to append to `app/log.txt`. */
  static async start(filestore: string): Promise<Application> {
    const directory = path.join(filestore, 'app');
    await fs.mkdir(directory, { recursive: true });
    const isOther = process.getuid?.() === 0 && (await isOpenToAll(await fs.realpath(filestore)));
    if (isOther) await fs.chown(directory, OTHER_USER, OTHER_USER);
    return new Application(path.join(directory, 'log.txt'), isOther ? OTHER_USER : null);
  }

  /** The longest time (ms) between two written lines from `fromMs` on. */
  longestGapMs(fromMs: number): number {
    let longest = 0;
    let previous: number | null = null;
    for (const { atMs } of this.written) {
      if (previous !== null && atMs >= fromMs) longest = Math.max(longest, atMs - previous);
      previous = atMs;
    }
    return longest;
  }

  async stop(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

function eachLine(stream: NodeJS.ReadableStream | null, take: (line: string) => void): void {
  let rest = '';
  stream?.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  });
}
