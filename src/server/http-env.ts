/** What every handler can see of a request. */
import type { Context } from 'hono';

/** What the listener knows and a Request does not say. */
export interface Connection {
  /** Null over a Unix socket. */
  readonly remoteAddress: string | null;
  readonly encrypted: boolean;
}

export interface HttpEnv {
  Bindings: Connection;
  Variables: { requestId: string };
}

export type HttpContext = Context<HttpEnv>;
/** What a listener serves. */
export type Fetch = (request: Request, connection: Connection) => Response | Promise<Response>;
