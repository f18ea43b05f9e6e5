/** What the two sites ask and answer about deposits; each message is parsed at the border. */
import { z } from 'zod';
import { ATTEST_BATCH } from '../../../core/attestation.ts';
import { parseDepositId } from '../../../core/ids.ts';

export const ATTEST_METHOD = 'attest';
export const LOOKUP_METHOD = 'deposit.lookup';

const MAX_WAIT_MS = 60_000;
const MAX_STATEMENT_CHARS = 64 * 1024;

export const hexDigest = z.string().regex(/^[0-9a-f]{64}$/);
export const depositId = z
  .string()
  .max(36)
  .transform((text, context) => {
    const id = parseDepositId(text);
    if (id !== null) return id;
    context.addIssue({ code: 'custom', message: 'not a deposit id' });
    return z.NEVER;
  });

/** The row digest covers every file's id, size and hash: they need not be told one by one. */
export const attestRequest = z.object({
  deposits: z
    .array(
      z.object({
        id: depositId,
        rowDigest: hexDigest,
        /** Since its commit, by the asker's clock; rows of a moment ago cannot be here yet. */
        ageMs: z.number().min(0).optional(),
      }),
    )
    .max(ATTEST_BATCH),
  waitMs: z.number().min(0).max(MAX_WAIT_MS),
});

/** `missing` and `bytes-missing` may be otherwise later; `rows-differ` will not. */
const refusal = z.enum(['missing', 'bytes-missing', 'rows-differ']);
export type Refusal = z.infer<typeof refusal>;

const received = z.object({
  id: z.uuid(),
  counter: z.int().positive(),
  site: z.string().max(32),
  at: z.iso.datetime().max(40),
});

export const attestAnswer = z.object({
  /** Null when no deposit is attested. */
  statement: z.string().max(MAX_STATEMENT_CHARS).nullable(),
  signature: z.string().max(200).nullable(),
  refused: z.array(z.object({ id: depositId, reason: refusal })).max(ATTEST_BATCH),
  /** The `received` event that counts, as far as the peer knows, of each attested deposit. */
  received: z.array(z.object({ id: depositId, event: received.nullable() })).max(ATTEST_BATCH),
});
export type AttestAnswer = z.infer<typeof attestAnswer>;
export type ReceivedMark = z.infer<typeof received>;
