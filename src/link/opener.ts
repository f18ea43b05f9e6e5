/** What this site opens at the peer: exchanges, and questions as a short form of them. */
import { AppError } from '../core/errors.ts';
import type { Clock, Exchange, PeerLink } from '../core/ports.ts';
import { orAborted, startDeadline } from './deadline.ts';
import { LaneExchange } from './exchange.ts';
import { encodeJson } from './frames.ts';
import type { LanePool } from './lane-pool.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import { encodeQuestion, RPC_PURPOSE, readReply } from './rpc.ts';

export interface OpenerOptions {
  readonly peer: string;
  readonly clock: Clock;
  /** Null while the link does not run. */
  readonly pool: () => LanePool | null;
}

/** Transfers of bytes; what is not listed here goes before them. */
const isBulk = (purpose: string) => purpose === 'deposit-get' || purpose.startsWith('files-');

/** Gets a lane and begins the exchange; does not wait for the peer's acceptance. */
async function start(
  { peer, pool: current }: OpenerOptions,
  purpose: string,
  header: unknown,
  signal: AbortSignal,
): Promise<LaneExchange> {
  if (encodeJson({ purpose, header }).length > MAX_HEADER_BYTES)
    throw new AppError('internal', `The header of ${purpose} is too large.`);
  const pool = current();
  if (!pool) throw new AppError('peer-unreachable', 'The link to the peer is not running.');
  const lane = await pool.acquire(isBulk(purpose), signal);
  const onFree = () => pool.release(lane);
  const exchange = new LaneExchange({ lane, purpose, header, peer, onFree });
  exchange.begin();
  return exchange;
}

/** The two ways to open something at the peer, as core/ports.ts promises them. */
export function createOpener(options: OpenerOptions): Pick<PeerLink, 'open' | 'request'> {
  const { peer, clock } = options;

  const gaveUp = (exchange: LaneExchange | null, signal: AbortSignal, error: unknown) => {
    if (!exchange) return;
    // A silent lane puts the idle ones in doubt: the network may have forgotten them all.
    if (signal.aborted && error === signal.reason) options.pool()?.discardIdle('in doubt');
    exchange.abort(error instanceof AppError ? error.message : 'internal error');
  };
  return {
    async open(purpose, header, { timeoutMs, signal }): Promise<Exchange> {
      const deadline = startDeadline(clock, timeoutMs, signal, `Opening ${purpose} at ${peer}`);
      let exchange: LaneExchange | null = null;
      try {
        exchange = await start(options, purpose, header, deadline.signal);
        await orAborted(exchange.accepted, deadline.signal);
        return exchange;
      } catch (error) {
        gaveUp(exchange, deadline.signal, error);
        throw error;
      } finally {
        deadline.done();
      }
    },
    async request(method, body, { timeoutMs, signal }) {
      const question = encodeQuestion(method, body);
      const deadline = startDeadline(clock, timeoutMs, signal, `Asking ${peer} for ${method}`);
      let exchange: LaneExchange | null = null;
      try {
        const asked = await start(options, RPC_PURPOSE, { method }, deadline.signal);
        exchange = asked;
        // Sent before the acceptance came: one round trip in all. Its failure shows in the reply.
        const sent = asked.send(question).then(() => asked.end());
        sent.catch(() => undefined);
        return await orAborted(readReply(asked, method, peer), deadline.signal);
      } catch (error) {
        // Nothing to give up when it is the peer's whole answer: then the exchange is over.
        gaveUp(exchange, deadline.signal, error);
        throw error;
      } finally {
        deadline.done();
      }
    },
  };
}
