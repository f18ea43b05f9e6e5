/** The parent of a probe child: one child per store, one question at a time, each with a deadline. */
import { z } from 'zod';
import type { Epoch } from '../../../core/epoch.ts';
import { AppError } from '../../../core/errors.ts';
import { parseSiteName } from '../../../core/ids.ts';
import type { Clock, Log } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import type { StoreCheck, StoreCondition, StoreProbe } from '../../../core/store-guard.ts';
import { selfCommand } from '../../../platform/self.ts';
import { ProbeProcess } from './probe-process.ts';
import type { ProbeAnswer, StoreLook } from './probe-protocol.ts';

/** What the rules say about a look: believed to be the right store, or not and why. */
export type StoreJudgement =
  | { readonly ok: true; readonly storeId: string }
  | { readonly ok: false; readonly reason: string };

export interface StoreProbeOptions {
  readonly root: string;
  readonly role: 'own' | 'peer';
  /** Judges each look; nothing is written to a store that it does not accept. */
  readonly judge: (look: StoreLook) => StoreJudgement | Promise<StoreJudgement>;
  readonly clock: Clock;
  readonly log: Log;
  /** For one question. */
  readonly deadlineMs?: number;
  readonly everyMs?: number;
  /** argv of the child; for tests. */
  readonly command?: readonly [string, ...string[]];
  readonly onCheck?: (check: StoreCheck) => void;
}

const lookSchema = z.object({
  device: z.string().max(32),
  inode: z.string().max(32),
  sameDeviceAsRoot: z.boolean(),
  fileSystem: z.number(),
  freeBytes: z.number(),
  totalBytes: z.number(),
  marker: z.string().nullable(),
  markerError: z.string().nullable(),
  empty: z.boolean(),
  write: z.string().nullable(),
});
const epochSchema = z.object({
  format: z.literal(1),
  number: z.int().nonnegative(),
  site: z.string().max(64),
});

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'is no directory',
  EACCES: 'cannot be read by this user',
  EIO: 'gives I/O errors',
  ESTALE: 'is a stale mount',
  ENOTCONN: 'is a mount whose server is gone',
};

/** Text of an epoch file; null when it holds none. */
export function parseEpochText(text: string): Epoch | null {
  try {
    const parsed = epochSchema.safeParse(JSON.parse(text));
    const site = parsed.success ? parseSiteName(parsed.data.site) : null;
    return parsed.success && site !== null ? { number: parsed.data.number, site } : null;
  } catch {
    return null;
  }
}

function writeCondition(code: string): { condition: StoreCondition; reason: string | null } {
  if (code === '') return { condition: 'ok', reason: null };
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return { condition: 'full', reason: 'no space is left' };
  }
  if (code === 'EROFS') return { condition: 'read-only', reason: 'is mounted read-only' };
  if (code === 'EACCES' || code === 'EPERM') {
    return { condition: 'read-only', reason: 'cannot be written by this user' };
  }
  return { condition: 'failed', reason: `a write test failed (${code})` };
}

class Probe implements StoreProbe {
  readonly root: string;
  readonly service: Service;
  private readonly options: StoreProbeOptions;
  private readonly child: ProbeProcess;
  private latest: StoreCheck | null = null;
  private latestLook: StoreLook | null = null;
  /** The id that the last judgement accepted: what the child may write to. */
  private accepted: string | null = null;
  private running: Promise<StoreCheck> | null = null;
  private following: Promise<StoreCheck> | null = null;

  constructor(options: StoreProbeOptions) {
    this.options = options;
    this.root = options.root;
    this.child = new ProbeProcess({
      command: options.command ?? selfCommand('internal', 'probe', options.root),
      deadlineMs: options.deadlineMs ?? 2_000,
      clock: options.clock,
      log: options.log,
    });
    this.service = {
      name: `probe-${options.role}-store`,
      run: async ({ signal, clock, ready }) => {
        try {
          while (!signal.aborted) {
            await this.check();
            ready();
            await clock.sleep(options.everyMs ?? 1_000, signal);
          }
        } finally {
          await this.close();
        }
      },
    };
  }

  last(): StoreCheck | null {
    return this.latest;
  }

  look(): StoreLook | null {
    return this.latestLook;
  }

  /** A check asked for while one runs waits for the next, which all others share. */
  check(): Promise<StoreCheck> {
    if (this.running === null) {
      this.running = this.checkNow().finally(() => {
        this.running = null;
      });
      return this.running;
    }
    this.following ??= this.running.then(() => {
      this.following = null;
      return this.check();
    });
    return this.following;
  }

  private async checkNow(): Promise<StoreCheck> {
    const check = await this.askAndJudge();
    this.latest = check;
    this.options.onCheck?.(check);
    return check;
  }

  private async askAndJudge(): Promise<StoreCheck> {
    const atMs = this.options.clock.monotonicMs();
    const failed = (reason: string): StoreCheck => ({
      root: this.root,
      atMs,
      condition: 'failed',
      reason,
      storeId: null,
      freeBytes: this.latestLook?.freeBytes ?? 0,
      totalBytes: this.latestLook?.totalBytes ?? 0,
    });
    // Twice at most: the first look at a store may only read.
    for (let round = 0; round < 2; round += 1) {
      const answer = await this.child.ask({
        op: 'probe',
        writeIf: this.accepted,
        testName: this.options.role === 'own' ? 'probe' : 'probe.peer',
      });
      if (answer === null) return failed('does not answer');
      if ('code' in answer) return failed(REASONS[answer.code] ?? answer.error);
      const parsed = 'look' in answer ? lookSchema.safeParse(answer.look) : null;
      if (parsed?.success !== true) return failed('its probe gave no sense');
      const look = parsed.data;
      this.latestLook = look;
      const judgement = await this.options.judge(look);
      this.accepted = judgement.ok ? judgement.storeId : null;
      if (!judgement.ok) return failed(judgement.reason);
      if (look.write !== null) {
        return {
          root: this.root,
          atMs,
          ...writeCondition(look.write),
          storeId: judgement.storeId,
          freeBytes: look.freeBytes,
          totalBytes: look.totalBytes,
        };
      }
    }
    return failed('its marker changes while it is looked at');
  }

  async readEpoch(): Promise<Epoch | null> {
    const answer = await this.child.ask({ op: 'read-epoch' });
    const text = this.expect(answer, 'text' in (answer ?? {}));
    return 'text' in text && text.text !== null ? parseEpochText(text.text) : null;
  }

  async writeEpoch(epoch: Epoch): Promise<void> {
    const writeIf = this.accepted;
    if (writeIf === null) {
      throw new AppError(
        'store-failed',
        `The store ${this.root} was not checked: no epoch is written.`,
      );
    }
    const text = `${JSON.stringify({ format: 1, number: epoch.number, site: epoch.site })}\n`;
    const answer = await this.child.ask({ op: 'write-epoch', text, writeIf });
    this.expect(answer, 'done' in (answer ?? {}));
  }

  private expect(answer: ProbeAnswer | null, fits: boolean): ProbeAnswer {
    if (answer !== null && fits) return answer;
    const why =
      answer === null
        ? 'does not answer'
        : 'code' in answer
          ? (REASONS[answer.code] ?? answer.error)
          : 'gave no sense';
    throw new AppError('store-failed', `The store ${this.root} ${why}.`);
  }

  close(): Promise<void> {
    return this.child.close();
  }
}

/** Starts nothing yet: the first question starts the child. The owner closes it. */
export function createStoreProbe(
  options: StoreProbeOptions,
): StoreProbe & { look(): StoreLook | null } {
  return new Probe(options);
}
