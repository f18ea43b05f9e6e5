/** Bytes between a socket of PostgreSQL's protocol and an exchange with the peer. */
import type { Socket } from 'node:net';
import { AppError, describeError } from '../../../core/errors.ts';
import type { Clock, Exchange } from '../../../core/ports.ts';

/** What is still under way to an end that has gone may take so long to run dry. */
const LINGER_MS = 2_000;
const WATCH_EVERY_MS = 1_000;

export interface RelayOptions {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** The peer's bytes, where reading has begun already. */
  readonly incoming?: AsyncIterator<Uint8Array>;
  /** Ends the relay when the peer is waited for and sends nothing for so long; 0 waits for ever. */
  readonly silenceMs: number;
}

function waitForDrain(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => {
    socket.off('drain', done);
    socket.off('close', done);
    resolve();
  };
  socket.on('drain', done);
  socket.on('close', done);
  if (socket.destroyed) done();
  return promise;
}

/** Socket → peer. Reading the socket waits until the exchange has room. */
async function pumpOut(socket: Socket, exchange: Exchange): Promise<void> {
  for await (const chunk of socket) await exchange.send(chunk as Buffer);
  await exchange.end();
}

/** Peer → socket. Reading the peer waits until the socket has room. */
async function pumpIn(
  incoming: AsyncIterator<Uint8Array>,
  socket: Socket,
  waiting: (isWaiting: boolean) => void,
): Promise<void> {
  for (;;) {
    waiting(true);
    const next = await incoming.next();
    waiting(false);
    if (next.done === true) break;
    if (socket.destroyed) continue;
    if (!socket.write(next.value)) await waitForDrain(socket);
  }
  socket.end();
}

/**
 * Carries bytes both ways with back-pressure until either end is done; then the other end is closed
 * at once. Owns both: when it resolves (it never rejects) the socket is closed and the exchange over.
 */
export async function relay(
  socket: Socket,
  exchange: Exchange,
  options: RelayOptions,
): Promise<void> {
  const { clock, signal, silenceMs } = options;
  const incoming = options.incoming ?? exchange.incoming[Symbol.asyncIterator]();
  const over = new AbortController();
  let waitingSince: number | null = null;

  const breakOff = (reason: string) => {
    exchange.abort(reason);
    socket.destroy();
  };
  const stop = () => breakOff('stopping');
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();

  const watch = async () => {
    while (silenceMs > 0 && !over.signal.aborted) {
      await clock.sleep(WATCH_EVERY_MS, over.signal);
      if (waitingSince === null || over.signal.aborted) continue;
      if (clock.monotonicMs() - waitingSince > silenceMs) breakOff('the peer went silent');
    }
  };
  const guarded = async (pump: Promise<void>) => {
    try {
      await pump;
    } catch (error) {
      breakOff(error instanceof AppError ? error.message : describeError(error));
    }
  };
  const out = guarded(pumpOut(socket, exchange));
  const back = guarded(
    pumpIn(incoming, socket, (isWaiting) => {
      waitingSince = isWaiting ? clock.monotonicMs() : null;
    }),
  );
  const watching = watch();
  // A broken link must not leave PostgreSQL on a socket where nothing will ever come.
  const broken = exchange.closed.then(() => {
    if (!socket.destroyed && !socket.writableEnded) socket.destroy();
  });
  await Promise.race([out, back]);
  await Promise.race([Promise.all([out, back]), clock.sleep(LINGER_MS, over.signal)]);
  breakOff('the other end is gone');
  await Promise.all([out, back, broken]);
  over.abort();
  await watching;
  signal.removeEventListener('abort', stop);
}
