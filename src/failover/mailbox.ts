import { AppError } from '../core/errors.ts';

/** More commands than this wait for none. */
const WAITING_MAX = 16;

interface Waiting {
  readonly run: () => Promise<void>;
  readonly refuse: (error: AppError) => void;
}

/** Commands for a loop that runs them one at a time; whoever gave one waits for its result. */
export class Mailbox {
  private readonly waiting: Waiting[] = [];
  private readonly wake: () => void;
  private closed = false;

  constructor(wake: () => void) {
    this.wake = wake;
  }

  /** Settles as `command` does, once the loop has run it. Rejects with `not-running` or `conflict` when it never will. */
  give<T>(command: () => Promise<T>): Promise<T> {
    if (this.closed) return Promise.reject(new AppError('not-running', 'This site is stopping.'));
    if (this.waiting.length >= WAITING_MAX) {
      return Promise.reject(new AppError('conflict', 'Too many commands wait already.'));
    }
    return new Promise<T>((resolve, reject) => {
      this.waiting.push({ run: () => command().then(resolve, reject), refuse: reject });
      this.wake();
    });
  }

  /** The oldest command, which never rejects; null when none waits. */
  take(): (() => Promise<void>) | null {
    return this.waiting.shift()?.run ?? null;
  }

  close(): void {
    this.closed = true;
    for (const { refuse } of this.waiting.splice(0)) {
      refuse(new AppError('not-running', 'This site is stopping.'));
    }
  }
}
