/** A request's body as it arrives: bounded in size, and never waited for without end. */
import { AppError } from '../../core/errors.ts';
import type { Clock } from '../../core/ports.ts';
import { within } from '../deadline.ts';
import { tooLarge } from './request.ts';

export interface BodyLimits {
  readonly maxBodyBytes: number;
  /** How long the client may send nothing. */
  readonly bodyIdleMs: number;
}

/**
 * Hands every chunk to `take`, one at a time. Resolves with the number of bytes. Throws AppError
 * `too-large` as soon as the limit is crossed, `body-incomplete` when the client breaks off or stalls.
 */
export async function readBody(
  body: ReadableStream<Uint8Array> | null,
  take: (chunk: Uint8Array) => Promise<void>,
  limits: BodyLimits,
  clock: Clock,
): Promise<number> {
  if (!body) return 0;
  const reader = body.getReader();
  let sizeBytes = 0;
  try {
    for (;;) {
      const { done, value } = await nextChunk(reader, limits, clock);
      if (done) return sizeBytes;
      sizeBytes += value.length;
      if (sizeBytes > limits.maxBodyBytes) throw tooLarge(sizeBytes, limits.maxBodyBytes);
      await take(value);
    }
  } catch (error) {
    // Whatever is still to come is not wanted; the connection ends with the answer.
    reader.cancel().catch(() => undefined);
    throw error;
  }
}

type Next =
  | { readonly done: false; readonly value: Uint8Array }
  | { readonly done: true; readonly value?: Uint8Array | undefined };

function nextChunk(
  reader: { read(): Promise<Next> },
  limits: BodyLimits,
  clock: Clock,
): Promise<Next> {
  const next = reader.read().catch((error: unknown) => {
    throw new AppError('body-incomplete', 'The body ended early; nothing was kept.', {
      cause: error,
    });
  });
  return within(clock, limits.bodyIdleMs, next, () => {
    throw new AppError(
      'body-incomplete',
      `No byte of the body came for ${Math.round(limits.bodyIdleMs / 1000)} s; nothing was kept.`,
    );
  });
}

const DRAIN_BYTES = 256 * 1024 * 1024;
const DRAIN_MS = 20_000;
const DRAIN_QUIET_MS = 200;

/**
 * Reads and drops what a client is in the middle of sending, so that it can read the refusal: many
 * send everything before they look, and a connection closed under them hides the answer. Ends when
 * the client pauses, and is bounded in bytes and time. Never rejects.
 */
export async function drainBody(
  body: ReadableStream<Uint8Array> | null,
  clock: Clock,
): Promise<void> {
  if (!body || body.locked) return;
  const reader = body.getReader();
  const start = clock.monotonicMs();
  let dropped = 0;
  try {
    while (dropped < DRAIN_BYTES && clock.monotonicMs() - start < DRAIN_MS) {
      const next = await within(clock, DRAIN_QUIET_MS, reader.read(), () => null);
      if (next === null || next.done) break;
      dropped += next.value.length;
    }
  } catch {
    // The client is gone: there is nobody left to be polite to.
  }
  reader.cancel().catch(() => undefined);
}
