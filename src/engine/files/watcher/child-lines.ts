/** A child of this program that speaks in JSON lines and ends when its stdin closes. */

const MAX_LINE_BYTES = 4 * 1024 * 1024;

export interface ChildLinesEvents {
  onLine(message: unknown): void;
  /** Once, when it is gone for whatever reason. */
  onEnd(reason: string): void;
}

export class ChildLines {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'ignore'>;
  readonly #events: ChildLinesEvents;
  readonly ended: Promise<void>;

  constructor(command: readonly [string, ...string[]], events: ChildLinesEvents) {
    this.#events = events;
    this.#process = Bun.spawn([...command], { stdin: 'pipe', stdout: 'pipe', stderr: 'ignore' });
    this.ended = this.#read();
  }

  get pid(): number {
    return this.#process.pid;
  }

  send(text: string): void {
    const { stdin } = this.#process;
    // A pipe that is closed means a dead child: its end is told by itself.
    Promise.resolve(stdin.write(text))
      .then(() => stdin.flush())
      .catch(() => this.kill());
  }

  /** It may be stopped or stuck in the kernel: nothing gentler is sure to work. */
  kill(): void {
    this.#process.kill('SIGKILL');
  }

  async #read(): Promise<void> {
    let reason = '';
    try {
      let rest = '';
      const decoder = new TextDecoder();
      for await (const chunk of this.#process.stdout) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > MAX_LINE_BYTES) throw new Error('a line without end');
        for (const line of lines) this.#events.onLine(JSON.parse(line));
      }
    } catch (error) {
      reason = String(error);
    }
    this.kill();
    const code = await this.#process.exited;
    this.#events.onEnd(reason || `exit ${code}${this.#process.signalCode ?? ''}`);
  }
}
