/** The probe child as a process: started on the first question, killed when it is late, never two. */
import type { Clock, Log } from '../../../core/ports.ts';
import type { ProbeAnswer, ProbeRequest } from './probe-protocol.ts';

type Question = ProbeRequest extends infer R
  ? R extends { id: number }
    ? Omit<R, 'id'>
    : never
  : never;

interface Child {
  readonly process: Bun.Subprocess<'pipe', 'pipe', 'ignore'>;
  readonly exited: Promise<void>;
  gone: boolean;
  killed: boolean;
  /** It has answered once, so that its start is not counted against a store. */
  awake: boolean;
}

/** More questions than this wait for none. */
const QUEUE_MAX = 16;
const ANSWER_MAX_BYTES = 64 * 1024;
/** For a child's start on a busy machine. */
const START_DEADLINE_MS = 10_000;

export class ProbeProcess {
  private readonly options: {
    readonly command: readonly [string, ...string[]];
    readonly deadlineMs: number;
    readonly clock: Clock;
    readonly log: Log;
  };
  private child: Child | null = null;
  private nextId = 1;
  private waiting = 0;
  private tail: Promise<unknown> = Promise.resolve();
  private pending: {
    readonly id: number;
    readonly done: (answer: ProbeAnswer | null) => void;
  } | null = null;

  constructor(options: ProbeProcess['options']) {
    this.options = options;
  }

  /** The child's process id; null when none runs. */
  get pid(): number | null {
    return this.child === null || this.child.gone ? null : this.child.process.pid;
  }

  /** One question at a time. Null: no answer within the deadline, or the last child still hangs. */
  ask(question: Question): Promise<ProbeAnswer | null> {
    if (this.waiting >= QUEUE_MAX) return Promise.resolve(null);
    this.waiting += 1;
    const answer = this.tail.then(() => this.askNow(question));
    this.tail = answer.finally(() => {
      this.waiting -= 1;
    });
    return answer;
  }

  private async askNow(question: Question): Promise<ProbeAnswer | null> {
    const child = this.usableChild();
    if (child === null) return null;
    if (!child.awake) {
      if ((await this.exchange(child, { op: 'ping' }, START_DEADLINE_MS)) === null) return null;
      child.awake = true;
    }
    return this.exchange(child, question, this.options.deadlineMs);
  }

  private async exchange(
    child: Child,
    question: Question,
    deadlineMs: number,
  ): Promise<ProbeAnswer | null> {
    const id = this.nextId++;
    const answered = new Promise<ProbeAnswer | null>((resolve) => {
      this.pending = { id, done: resolve };
    });
    const late = new AbortController();
    const timeout = this.options.clock.sleep(deadlineMs, late.signal).then(() => null);
    const gone = child.exited.then(() => null);
    try {
      void child.process.stdin.write(`${JSON.stringify({ id, ...question })}\n`);
      void child.process.stdin.flush();
    } catch {
      // The child is gone or going; its exit answers below.
    }
    const answer = await Promise.race([answered, timeout, gone]);
    late.abort();
    this.pending = null;
    if (answer === null && !child.gone) {
      this.options.log.warn('probe.hung', { pid: child.process.pid, question: question.op });
      this.kill(child);
    }
    return answer;
  }

  /** A child in uninterruptible sleep does not die of this; until it has, no other is started. */
  private kill(child: Child): void {
    child.killed = true;
    child.process.kill('SIGKILL');
  }

  private usableChild(): Child | null {
    if (this.child !== null && !this.child.gone) {
      return this.child.killed ? null : this.child;
    }
    this.child = this.start();
    return this.child;
  }

  private start(): Child {
    const process_ = Bun.spawn([...this.options.command], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'ignore',
    });
    const child: Child = {
      process: process_,
      gone: false,
      killed: false,
      awake: false,
      exited: process_.exited.then(() => {
        child.gone = true;
      }),
    };
    void this.read(child);
    return child;
  }

  private async read(child: Child): Promise<void> {
    const decoder = new TextDecoder();
    let rest = '';
    try {
      for await (const chunk of child.process.stdout) {
        rest += decoder.decode(chunk, { stream: true });
        if (rest.length > ANSWER_MAX_BYTES) throw new Error('answer too long');
        const lines = rest.split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) this.settle(JSON.parse(line) as ProbeAnswer);
      }
    } catch (error) {
      this.options.log.warn('probe.nonsense', { error: String(error) });
      this.kill(child);
    }
  }

  private settle(answer: ProbeAnswer): void {
    if (this.pending?.id === answer.id) this.pending.done(answer);
  }

  /** Ends the child and waits for it, but not for longer than the deadline: it may hang in the kernel. */
  async close(): Promise<void> {
    const child = this.child;
    if (child === null || child.gone) return;
    void child.process.stdin.end();
    await Promise.race([child.exited, this.options.clock.sleep(200)]);
    if (!child.gone) this.kill(child);
    await Promise.race([child.exited, this.options.clock.sleep(this.options.deadlineMs)]);
  }
}
