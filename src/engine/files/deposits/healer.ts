/**
 * Makes this store hold what the rows promise: adopts what lies there already, takes it back from the
 * trash, or pulls it from the peer, newest rows first.
 */
import type { DepositFileRow } from '../../../core/deposit.ts';
import { describeError } from '../../../core/errors.ts';
import type { FileId } from '../../../core/ids.ts';
import type { Service } from '../../../core/service.ts';
import type { DepositContext } from './context.ts';
import { unlessDatabaseDown } from './database-wait.ts';
import { createSemaphore } from './keyed-lock.ts';
import type { Puller } from './puller.ts';
import { createWaker, type Waker } from './waker.ts';

/** Rows looked at in one round. */
const BATCH = 256;
const MAX_BATCH = 5000;
const MAX_SMALL_AT_ONCE = 6;
const MAX_LARGE_AT_ONCE = 2;
/** Small ones that are begun or wait for their turn. */
const MAX_STARTED = 64;
const SMALL_BYTES = 4 * 1024 * 1024;
const MAX_QUEUED = 10_000;
const MAX_BACKOFF_MS = 300_000;
/** Arrivals come in bursts; one look at the list serves many. */
const GATHER_MS = 20;

export interface Healer {
  /** Damage found in passing: looked at soon. Dropped silently when very many wait. */
  queue(file: DepositFileRow): void;
  /** What the need list last said it holds. */
  needed(): number;
  readonly service: Service;
}

interface Failed {
  readonly attempts: number;
  readonly notBeforeMs: number;
}

interface Parts {
  readonly context: DepositContext;
  readonly puller: Puller;
}

/** Doubling delays from one second, per file. */
function createBackoff(context: DepositContext) {
  const failed = new Map<FileId, Failed>();
  return {
    size: () => failed.size,
    isDue: (id: FileId) => (failed.get(id)?.notBeforeMs ?? 0) <= context.clock.monotonicMs(),
    clear: () => failed.clear(),
    done: (id: FileId) => failed.delete(id),
    fail(id: FileId) {
      const attempts = (failed.get(id)?.attempts ?? 0) + 1;
      if (failed.size > MAX_QUEUED) failed.clear();
      const delayMs = Math.min(MAX_BACKOFF_MS, 1000 * 2 ** Math.min(attempts - 1, 20));
      failed.set(id, { attempts, notBeforeMs: context.clock.monotonicMs() + delayMs });
    },
  };
}

/** Until there is work, the peer comes, or it is time to look again. */
async function idle(context: DepositContext, waker: Waker, signal: AbortSignal): Promise<void> {
  const { clock, pace } = context;
  const over = new AbortController();
  const watchPeer = async () => {
    const before = context.peerAlive();
    while (!over.signal.aborted) {
      await clock.sleep(250, over.signal);
      if (!over.signal.aborted && context.peerAlive() !== before) return waker.wake();
    }
  };
  const watching = watchPeer();
  // Without a peer there is little to do but to adopt what is here.
  await waker.wait(pace.healEveryMs * (context.peerAlive() ? 1 : 6), signal);
  over.abort();
  await watching;
  await clock.sleep(GATHER_MS, signal);
}

type Backoff = ReturnType<typeof createBackoff>;

/** Files being obtained now: a long one takes its place and holds up nobody else. */
function createCrew({ context, puller }: Parts, backoff: Backoff, wake: () => void) {
  const { log, needs, metrics } = context;
  const working = new Map<FileId, { readonly large: boolean; readonly end: Promise<void> }>();
  const small = createSemaphore(MAX_SMALL_AT_ONCE);
  let done: DepositFileRow[] = [];
  let failure: Error | null = null;

  const obtain = async (file: DepositFileRow, signal: AbortSignal): Promise<void> => {
    try {
      const from = await puller.obtain(file, signal);
      backoff.done(file.id);
      done.push(file);
      if (from !== 'here')
        metrics.count('deposit_files_healed_total', 'Files brought into the store', { from });
    } catch (error) {
      if (signal.aborted) return;
      backoff.fail(file.id);
      // An absent peer is no news about a file.
      if (!context.peerAlive()) return;
      log.debug('deposit.heal-failed', { path: file.path, error: describeError(error) });
      await needs.failed(file, describeError(error));
    }
  };
  const work = async (file: DepositFileRow, signal: AbortSignal): Promise<void> => {
    const release = file.sizeBytes <= SMALL_BYTES ? await small.acquire(signal) : null;
    try {
      if (!signal.aborted) await obtain(file, signal);
    } catch (error) {
      failure ??= error instanceof Error ? error : new Error(String(error)); // the need list itself failed: the service starts anew
    } finally {
      release?.();
      working.delete(file.id);
      wake();
    }
  };
  return {
    size: () => working.size,
    /** Begins with a file unless it is being worked on or its kind is full. */
    start(file: DepositFileRow, signal: AbortSignal): void {
      const large = file.sizeBytes > SMALL_BYTES;
      const ofKind = [...working.values()].filter((one) => one.large === large).length;
      if (working.has(file.id) || ofKind >= (large ? MAX_LARGE_AT_ONCE : MAX_STARTED)) return;
      working.set(file.id, { large, end: work(file, signal) });
    },
    /** What was obtained since the last call. Throws when the need list failed. */
    takeDone(): readonly DepositFileRow[] {
      if (failure) {
        const error = failure;
        failure = null;
        throw error;
      }
      const taken = done;
      done = [];
      return taken;
    },
    async settled(): Promise<void> {
      await Promise.all([...working.values()].map((one) => one.end));
    },
  };
}

export function createHealer(parts: Parts): Healer {
  const { context, puller } = parts;
  const { clock, needs, metrics } = context;
  const waker = createWaker(clock);
  const queued = new Map<FileId, DepositFileRow>();
  const backoff = createBackoff(context);
  const crew = createCrew(parts, backoff, waker.wake);
  let needed = 0;

  const round = async (signal: AbortSignal): Promise<void> => {
    const done = crew.takeDone();
    for (const file of done) queued.delete(file.id);
    if (done.length > 0) await needs.held(done);
    // Enough is under way; what is missing is asked for again when some of it is done.
    if (crew.size() > MAX_STARTED / 2 && queued.size === 0) return;
    const limit = Math.min(MAX_BATCH, BATCH + backoff.size() + crew.size());
    const listed = await needs.next(limit);
    needed = listed.length < limit ? listed.length : await needs.size();
    metrics.gauge('deposit_files_needed', 'Files that rows promise and this store lacks', needed);
    const wanted = new Map([...queued, ...listed.map((file) => [file.id, file] as const)]);
    for (const file of wanted.values()) if (backoff.isDue(file.id)) crew.start(file, signal);
  };

  return {
    queue(file) {
      if (queued.size >= MAX_QUEUED && !queued.has(file.id)) return;
      queued.set(file.id, file);
      waker.wake();
    },
    needed: () => needed,
    service: {
      name: 'deposit-healer',
      async run({ signal, ready }) {
        const stop = needs.onArrival(waker.wake);
        let wasAlive = false;
        try {
          while (!signal.aborted) {
            const alive = context.peerAlive();
            // The peer came: what failed for want of it is worth another try at once.
            if (alive && !wasAlive) backoff.clear();
            wasAlive = alive;
            await unlessDatabaseDown(() => round(signal));
            ready();
            await idle(context, waker, signal);
          }
        } finally {
          stop();
          await crew.settled();
          await puller.close();
        }
      },
    },
  };
}
