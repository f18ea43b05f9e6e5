/** One site's question for a deposit that it does not know and the other may. */
import { z } from 'zod';
import type { DepositFileRow, DepositRecord } from '../../../core/deposit.ts';
import { AppError } from '../../../core/errors.ts';
import type { AccountName, DepositId, FileId, SiteName } from '../../../core/ids.ts';
import type { Catalogue, PeerLink } from '../../../core/ports.ts';
import { eventSchema } from '../catalogue/rows.ts';
import { depositId, hexDigest, LOOKUP_METHOD } from './wire.ts';

const MAX_FILES = 100_000;
const MAX_RECORDS = 16;

const question = z.union([
  z.strictObject({ id: depositId }),
  z.strictObject({ keyDigest: hexDigest }),
]);

const name = z.string().max(64);
const file = z.object({
  id: z.uuid().transform((id) => id as FileId),
  depositId,
  ordinal: z.int().min(0),
  name: z.string().max(4096),
  mediaType: z.string().max(1024),
  sizeBytes: z.int().min(0),
  sha256: hexDigest,
  md5: z.string().regex(/^[0-9a-f]{32}$/),
  chunkSha256: z.array(hexDigest),
  path: z.string().max(4096),
});
const record = z.object({
  deposit: z.object({
    id: depositId,
    collection: name.transform((text) => text as AccountName),
    depositor: name.transform((text) => text as AccountName),
    onBehalfOf: z.string().nullable(),
    title: z.string().nullable(),
    packaging: z.string().nullable(),
    fileCount: z.int().min(0),
    requestDigest: hexDigest,
    keyDigest: hexDigest.nullable(),
  }),
  files: z.array(file).max(MAX_FILES),
  events: z.array(eventSchema.transform((event) => ({ ...event, site: event.site as SiteName }))),
  attestedByPeerAt: z.string().nullable(),
  vouchedAt: z.string().nullable(),
  heldHere: z.boolean(),
});
const answer = z.object({ records: z.array(record).max(MAX_RECORDS) });

/** A record as the peer knows it: `heldHere`, `vouchedAt` and `attestedByPeerAt` are the peer's. */
export type PeerRecord = DepositRecord;

export interface PeerLookup {
  /** Null when the peer does not know it either. Throws `peer-*` within the deadline. */
  byId(id: DepositId, timeoutMs: number, signal?: AbortSignal): Promise<PeerRecord | null>;
  byKey(keyDigest: string, timeoutMs: number, signal?: AbortSignal): Promise<readonly PeerRecord[]>;
}

/** Answers the peer's questions from now on. */
export function answerLookups(
  link: PeerLink,
  catalogue: Pick<Catalogue, 'find' | 'findByKey'>,
): void {
  link.answer(LOOKUP_METHOD, async (body) => {
    const asked = question.safeParse(body);
    if (!asked.success) throw new AppError('bad-request', asked.error.message);
    if ('keyDigest' in asked.data) {
      const records = await catalogue.findByKey(asked.data.keyDigest);
      return { records: records.slice(0, MAX_RECORDS) };
    }
    const found = await catalogue.find(asked.data.id);
    return { records: found === null ? [] : [found] };
  });
}

/** Asks the peer; nothing is remembered. */
export function createPeerLookup(link: PeerLink): PeerLookup {
  const ask = async (body: unknown, timeoutMs: number, signal: AbortSignal | undefined) => {
    const limits = signal === undefined ? { timeoutMs } : { timeoutMs, signal };
    const parsed = answer.safeParse(await link.request(LOOKUP_METHOD, body, limits));
    if (!parsed.success) {
      throw new AppError('peer-refused', `The peer's answer is none: ${parsed.error.message}`);
    }
    return parsed.data.records.filter((each) => isWhole(each.files, each.deposit.fileCount));
  };
  return {
    async byId(id, timeoutMs, signal) {
      const records = await ask({ id }, timeoutMs, signal);
      return records.find((each) => each.deposit.id === id) ?? null;
    },
    async byKey(keyDigest, timeoutMs, signal) {
      const records = await ask({ keyDigest }, timeoutMs, signal);
      return records.filter((each) => each.deposit.keyDigest === keyDigest);
    },
  };
}

function isWhole(files: readonly DepositFileRow[], fileCount: number): boolean {
  return files.length === fileCount;
}
