/**
 * A deposit's way in. The order is the promise: bytes fsynced and published at both sites, then the
 * rows in one flushed transaction, then the peer's attestation, then the answer.
 */
import type { DepositRecord, NewDeposit } from '../../core/deposit.ts';
import { AppError } from '../../core/errors.ts';
import type { DepositUpload } from '../../core/ports.ts';
import { rfc3339 } from '../../platform/clock.ts';
import { readBody } from './body.ts';
import { commitKnowingly } from './commit.ts';
import { attested, unproven } from './evidence.ts';
import type { Located } from './lookup.ts';
import { checkClaims, compareWithTaken, replay, sameRequest } from './replay.ts';
import type { DepositRequest } from './request.ts';
import { buildRows, type Content, keyDigestOf, requestDigestOf } from './rows.ts';
import type { TakeDeps, Taken } from './take-deps.ts';

/** A body that took longer than this gives another taking of its key the time to arrive. */
const LOOK_AGAIN_AFTER_MS = 1000;

/** Reads the body into the upload and checks what the client said about it. */
async function receive(
  deps: TakeDeps,
  request: DepositRequest,
  body: ReadableStream<Uint8Array> | null,
  upload: DepositUpload,
): Promise<Content> {
  const wantsSha512 = request.claims.some((claim) => claim.algorithm === 'sha-512');
  const sha512 = wantsSha512 ? new Bun.CryptoHasher('sha512') : null;
  const seen = await readBody(
    body,
    (chunk) => {
      sha512?.update(chunk);
      return upload.write(chunk);
    },
    deps,
    deps.clock,
  );
  if (request.expectedBytes !== null && seen !== request.expectedBytes) {
    throw new AppError('body-incomplete', 'The body ended early; nothing was kept.');
  }
  const digest = await upload.finish();
  checkClaims(request, {
    'sha-256': digest.sha256,
    md5: digest.md5,
    ...(sha512 ? { 'sha-512': sha512.digest('hex') } : {}),
  });
  return { digest, requestDigest: requestDigestOf(request, digest.sha256) };
}

/** The record as the catalogue has it now, or as it was just written. */
async function writtenRecord(
  deps: TakeDeps,
  rows: NewDeposit,
  whyLocal: string | null,
): Promise<DepositRecord> {
  const written: DepositRecord = {
    deposit: rows.deposit,
    files: rows.files,
    events: rows.events,
    attestedByPeerAt: null,
    vouchedAt: null,
    heldHere: true,
  };
  if (whyLocal !== null) return written;
  const found = await deps.catalogue.find(rows.deposit.id).catch(() => null);
  return found ?? { ...written, attestedByPeerAt: rfc3339(deps.clock.wallMs()) };
}

async function store(
  deps: TakeDeps,
  request: DepositRequest,
  content: Content,
  keyDigest: string | null,
  upload: DepositUpload,
  onStored: () => void,
): Promise<Taken> {
  const rows = buildRows(deps, request, content, keyDigest);
  const id = rows.deposit.id;
  await upload.publish(rows.file);
  // A crash here leaves published bytes without a row: the journal knows them, the sweeper takes them.
  const { file: _, ...deposit } = rows;
  const outcome = await commitKnowingly(deps.catalogue, deps.clock, deposit, keyDigest !== null);
  const committedAt = deps.clock.monotonicMs();
  upload.committed();
  onStored();
  // A crash from here on loses no more than the answer: the same key finds the deposit.
  if (outcome === 'existed') {
    const record = await deps.catalogue.find(id);
    if (record) return replay(deps, { record, at: 'here' });
  }
  const whenWritten: Located = {
    at: 'here',
    record: { ...deposit, attestedByPeerAt: null, vouchedAt: null, heldHere: true },
  };
  const [whyLocal, sameContentAs] = await Promise.all([
    attested(deps, id, committedAt),
    // The receipt's hint at duplicates is not worth failing a deposit that is committed.
    deps.receipts.sameContent(whenWritten).catch(() => []),
  ]);
  if (whyLocal !== null && deps.requireBoth) throw unproven(id, keyDigest !== null);
  const record = await writtenRecord(deps, deposit, whyLocal);
  return { located: { record, at: 'here' }, replay: false, sameContentAs, whyLocal };
}

async function takeNew(
  deps: TakeDeps,
  request: DepositRequest,
  body: ReadableStream<Uint8Array> | null,
  keyDigest: string | null,
  signal: AbortSignal,
  startedAt: number,
): Promise<Taken> {
  // A client that leaves ends the upload; once its body is here, the deposit is taken to its end.
  const receiving = new AbortController();
  const leave = () => receiving.abort(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  const upload = await deps.bytes.begin({
    ...(request.expectedBytes === null ? {} : { expectedBytes: request.expectedBytes }),
    signal: receiving.signal,
  });
  let stored = false;
  try {
    const content = await receive(deps, request, body, upload);
    signal.removeEventListener('abort', leave);
    const slow = deps.clock.monotonicMs() - startedAt > LOOK_AGAIN_AFTER_MS;
    const since = keyDigest !== null && slow ? await deps.lookup.byKey(keyDigest) : [];
    if (since.length > 0) return await replay(deps, sameRequest(since, content.requestDigest));
    return await store(deps, request, content, keyDigest, upload, () => {
      stored = true;
    });
  } finally {
    signal.removeEventListener('abort', leave);
    // This request's own temps only; what cannot be removed now is in the intake journal.
    if (!stored) await upload.discard().catch(() => undefined);
  }
}

/**
 * Takes one deposit, or finds the one that this key made. Whatever it throws before the commit,
 * nothing is kept; after it, the error says that the deposit may exist.
 */
export async function takeDeposit(
  deps: TakeDeps,
  request: DepositRequest,
  body: ReadableStream<Uint8Array> | null,
  signal: AbortSignal,
): Promise<Taken> {
  const keyDigest = keyDigestOf(request);
  const release = deps.keys.take(keyDigest);
  try {
    const startedAt = deps.clock.monotonicMs();
    const known = keyDigest === null ? [] : await deps.lookup.byKey(keyDigest);
    if (known.length > 0) return await compareWithTaken(deps, request, body, known);
    return await takeNew(deps, request, body, keyDigest, signal, startedAt);
  } finally {
    release();
  }
}
