/** Requests byte by byte over a plain socket, for what no well-behaved client sends. */
import net from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  /** Null, or the socket's error code. */
  readonly error: string | null;
}

export interface RawOptions {
  /** Closes the socket hard after the last part. */
  readonly destroyAfter?: boolean;
  readonly timeoutMs?: number;
}

/** Sends the parts (a number is a pause in ms) and reads until the server closes or is done. */
export function rawRequest(
  port: number,
  parts: readonly (string | Uint8Array | number)[],
  options: RawOptions = {},
): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    const received: Buffer[] = [];
    let error: string | null = null;
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      const text = Buffer.concat(received).toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      const head = end < 0 ? text : text.slice(0, end);
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
      resolve({ status, head, body: end < 0 ? '' : text.slice(end + 4), error });
    };
    const timer = setTimeout(() => {
      error = 'timeout';
      finish();
    }, options.timeoutMs ?? 3000);
    socket.on('data', (chunk) => received.push(Buffer.from(chunk)));
    socket.on('error', (problem) => {
      error = (problem as { code?: string }).code ?? problem.message;
    });
    socket.on('close', finish);
    const send = async () => {
      for (const part of parts) {
        if (typeof part === 'number') await Bun.sleep(part);
        else if (!socket.destroyed) socket.write(part);
      }
      if (options.destroyAfter) socket.destroy();
    };
    socket.on('connect', () => {
      send().catch(finish);
    });
  });
}
