/** A heartbeat as it travels: one JSON object per line. What comes from the peer is parsed, with limits. */
import { z } from 'zod';
import { AppError } from '../core/errors.ts';
import type { EngineFacts } from '../core/ports.ts';
import { SITE_STATES } from '../core/site-machine.ts';
import { epochSchema } from './pair-memory.ts';

/** One line is far below this; more is not a heartbeat. */
export const BEAT_MAX_BYTES = 16 * 1024;

const short = z.string().max(256);
const count = z.int().nonnegative();
const storeHealth = z.union([
  z.object({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), reason: z.string().max(1_000) }),
]);

const beatSchema = z.object({
  v: z.literal(1),
  site: short,
  /** The site's start counter, and a random name for this run. */
  start: count,
  run: short,
  seq: count,
  /** The highest of the receiver's seqs that the sender heard, and how long ago that was. */
  heard: count.nullable(),
  heldMs: z.number().nonnegative(),
  wallMs: z.number(),
  version: short,
  protocol: count,
  state: z.enum(SITE_STATES),
  epoch: epochSchema.nullable(),
  stale: z.boolean(),
  store: z.object({
    id: short.nullable(),
    condition: z.enum(['ok', 'full', 'read-only', 'failed']),
    /** The id may be remembered: the receiver's own memory was heard and does not speak against it. */
    settled: z.boolean(),
  }),
  /** The receiver's store as the sender remembers it. */
  knowsStore: short.nullable(),
  facts: z.object({
    fileRoot: short,
    fileSeq: count,
    filesDrained: z.boolean(),
    databaseStreaming: z.boolean(),
    storeHealth,
    storeId: short.nullable(),
    load: z.number(),
  }),
});
const refusalSchema = z.object({ refused: z.string().max(1_000) });

export type Beat = z.infer<typeof beatSchema>;
/** What the manager supplies; the heartbeat adds the rest. */
export type BeatContent = Pick<Beat, 'state' | 'epoch' | 'stale' | 'store' | 'knowsStore'> & {
  readonly facts: EngineFacts;
};

export type Incoming =
  | { readonly kind: 'beat'; readonly beat: Beat }
  | { readonly kind: 'refused'; readonly reason: string };

/** Throws AppError `peer-refused` for anything but a heartbeat or a refusal. */
export function parseBeat(line: string): Incoming {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new AppError('peer-refused', 'The peer sent a heartbeat that is no JSON.');
  }
  const beat = beatSchema.safeParse(json);
  if (beat.success) return { kind: 'beat', beat: beat.data };
  const refusal = refusalSchema.safeParse(json);
  if (refusal.success) return { kind: 'refused', reason: refusal.data.refused };
  const where = beat.error.issues[0]?.path.join('.') ?? '';
  throw new AppError('peer-refused', `The peer sent a heartbeat that makes no sense (${where}).`);
}

export function encodeLine(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

/** Whole lines of a byte stream. Throws AppError `peer-refused` when one is too long. */
export async function* lines(incoming: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of incoming) {
    rest += decoder.decode(chunk, { stream: true });
    const whole = rest.split('\n');
    rest = whole.pop() ?? '';
    if (rest.length > BEAT_MAX_BYTES) {
      throw new AppError('peer-refused', 'The peer sent a heartbeat without an end.');
    }
    yield* whole;
  }
}
