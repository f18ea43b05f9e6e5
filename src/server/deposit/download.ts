/** A file's bytes: ranges, entity tags, digests; every chunk verified before it leaves. */
import { create } from 'content-disposition';
import { ifRangeHolds, noneMatches, selectRange } from '../../core/byte-range.ts';
import { CHUNK_BYTES, type DepositFileRow } from '../../core/deposit.ts';
import { sha256Digest } from '../../core/digest-headers.ts';
import { AppError, describeError } from '../../core/errors.ts';
import type { DepositBytes, Log } from '../../core/ports.ts';
import { HttpError } from '../problem.ts';

export interface DownloadDeps {
  readonly bytes: Pick<DepositBytes, 'read'>;
  readonly log: Log;
}

/** Up to this size a body is sent whole with Content-Length; Bun sends a stream chunked. */
const WHOLE_BYTES = 1024 * 1024;

function fileHeaders(file: DepositFileRow, etag: string): Headers {
  return new Headers({
    'Content-Type': file.mediaType,
    'Content-Disposition': create(file.name),
    ETag: etag,
    'Repr-Digest': sha256Digest(file.sha256),
    'Accept-Ranges': 'bytes',
    'Cache-Control': 'private, no-cache',
    // What a depositor uploaded is never run as a page of this server's.
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'none'; sandbox",
  });
}

/**
 * A stream of exactly `length` bytes. A failure on the way breaks the connection off, so that a
 * client never takes a part for the whole. `onEnd` is called once, however it ends.
 */
function streamOf(
  iterator: AsyncIterator<Uint8Array>,
  length: number,
  log: Log,
  onEnd: () => void,
): ReadableStream<Uint8Array> {
  let sent = 0;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await iterator.next();
          if (!next.done) {
            sent += next.value.length;
            controller.enqueue(next.value);
            return;
          }
          if (sent !== length) throw new Error(`${sent} bytes instead of ${length}`);
          controller.close();
        } catch (error) {
          log.warn('download.broken', { error: describeError(error), sent, length });
          // Without a reason: the runtime prints whatever it is given to stderr.
          controller.error(undefined);
        }
        onEnd();
      },
      async cancel() {
        onEnd();
        await iterator.return?.();
      },
    },
    { highWaterMark: 1 },
  );
}

async function collect(
  iterator: AsyncIterator<Uint8Array>,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const whole = new Uint8Array(length);
  let at = 0;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    if (at + next.value.length > length) break;
    whole.set(next.value, at);
    at += next.value.length;
  }
  if (at === length) return whole;
  throw new AppError('content-unavailable', 'The bytes of this file cannot be read in full now.');
}

export interface FileAnswer {
  readonly response: Response;
  /** The body goes on after this; `onEnd` says when it has ended. */
  readonly streaming: boolean;
}

/** The answer to GET or HEAD of one file. */
export async function answerFile(
  deps: DownloadDeps,
  request: Request,
  file: DepositFileRow,
  onEnd: () => void,
): Promise<FileAnswer> {
  const done = (response: Response): FileAnswer => ({ response, streaming: false });
  const etag = `"${file.sha256}"`;
  const headers = fileHeaders(file, etag);
  const asked = (name: string) => request.headers.get(name);
  if (!noneMatches(asked('If-None-Match'), etag)) {
    return done(new Response(null, { status: 304, headers }));
  }
  const range = ifRangeHolds(asked('If-Range'), etag)
    ? selectRange(asked('Range'), file.sizeBytes)
    : ({ kind: 'whole' } as const);
  if (range.kind === 'unsatisfiable') {
    throw new HttpError('range-not-satisfiable', `The file has ${file.sizeBytes} bytes.`, {
      headers: [
        ['Content-Range', `bytes */${file.sizeBytes}`],
        ['Accept-Ranges', 'bytes'],
      ],
    });
  }
  const part = range.kind === 'part' ? range : null;
  const status = part ? 206 : 200;
  const length = part ? part.end - part.start + 1 : file.sizeBytes;
  if (part) headers.set('Content-Range', `bytes ${part.start}-${part.end}/${file.sizeBytes}`);
  headers.set('Content-Length', String(length));
  // HEAD opens no file: it would have to be closed again unread.
  if (request.method === 'HEAD' || length === 0) {
    return done(new Response(null, { status, headers }));
  }
  const source = await deps.bytes.read(
    file,
    part ? { start: part.start, end: part.end } : null,
    request.signal,
  );
  const iterator = source[Symbol.asyncIterator]();
  if (length <= WHOLE_BYTES) {
    return done(new Response(await collect(iterator, length), { status, headers }));
  }
  // The first chunk before the status: what cannot be read at all is a 503, not a broken 200.
  const first = await iterator.next();
  const body = streamOf(resume(first, iterator), length, deps.log, onEnd);
  return { response: new Response(body, { status, headers }), streaming: true };
}

/** The iterator with one result put back in front; large chunks are handed on in pieces. */
function resume(
  first: IteratorResult<Uint8Array>,
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  return (async function* () {
    try {
      for (let next = first; !next.done; next = await rest.next()) {
        for (let at = 0; at < next.value.length; at += CHUNK_BYTES / 16) {
          yield next.value.subarray(at, at + CHUNK_BYTES / 16);
        }
      }
    } finally {
      await rest.return?.();
    }
  })();
}
