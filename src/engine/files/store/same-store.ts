/** Does the path still lead to the store that was checked? Asked before every acknowledgement. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError } from '../../../core/errors.ts';
import type { Clock } from '../../../core/ports.ts';
import { MARKER_MAX_BYTES, MARKER_PATH, parseMarker } from './marker.ts';

export interface CheckedStore {
  readonly device: string;
  readonly inode: string;
  readonly storeId: string;
}

export interface SameStoreOptions {
  readonly root: string;
  readonly deadlineMs: number;
  readonly clock: Clock;
  /** What was checked, or why there is nothing. */
  readonly checked: () => CheckedStore | string;
  /** The answer was no. */
  readonly onDifference: (reason: string) => void;
}

/** What is wrong with the path as it is now; null when it still leads to the checked store. */
async function difference(root: string, checked: CheckedStore | string): Promise<string | null> {
  if (typeof checked === 'string') return `is not available: ${checked}`;
  try {
    const stat = await fs.stat(root, { bigint: true });
    if (String(stat.dev) !== checked.device || String(stat.ino) !== checked.inode) {
      return 'is another file system than the one that was checked';
    }
    const content = await fs.readFile(path.join(root, MARKER_PATH), 'utf8');
    return parseMarker(content.slice(0, MARKER_MAX_BYTES))?.storeId === checked.storeId
      ? null
      : 'carries another marker than the one that was checked';
  } catch (error) {
    return `cannot be checked: ${describeError(error)}`;
  }
}

export class SameStore {
  private readonly options: SameStoreOptions;
  private running: Promise<void> | null = null;
  private following: Promise<void> | null = null;

  constructor(options: SameStoreOptions) {
    this.options = options;
  }

  /**
   * Throws AppError `store-failed` unless marker, device and inode are those that were checked. The
   * look begins after the call: one that runs already proves nothing about now. At most two are
   * under way, however many ask.
   */
  assert(): Promise<void> {
    if (this.running === null) {
      this.running = this.compare().finally(() => {
        this.running = null;
      });
      return this.running;
    }
    this.following ??= this.running
      .catch(() => undefined)
      .then(() => {
        this.following = null;
        return this.assert();
      });
    return this.following;
  }

  private async compare(): Promise<void> {
    const { root, clock, deadlineMs, checked, onDifference } = this.options;
    const late = new AbortController();
    const timeout = clock.sleep(deadlineMs, late.signal).then(() => 'does not answer');
    const wrong = await Promise.race([difference(root, checked()), timeout]);
    late.abort();
    if (wrong === null) return;
    onDifference(wrong);
    throw new AppError('store-failed', `The store ${root} ${wrong}.`);
  }
}
