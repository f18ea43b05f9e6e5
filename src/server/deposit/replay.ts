/** A request whose Idempotency-Key was seen before. */
import { type DigestAlgorithm, findMismatch } from '../../core/digest-headers.ts';
import { AppError } from '../../core/errors.ts';
import { wasReceivedBy } from '../../core/receipt.ts';
import { readBody } from './body.ts';
import { attested, unproven } from './evidence.ts';
import type { Located } from './lookup.ts';
import type { DepositRequest } from './request.ts';
import { requestDigestOf } from './rows.ts';
import type { TakeDeps, Taken } from './take-deps.ts';

/** Throws AppError `digest-mismatch` when the bytes are not what the client said. */
export function checkClaims(
  request: DepositRequest,
  actual: Readonly<Partial<Record<DigestAlgorithm, string>>>,
): void {
  const mismatch = findMismatch(request.claims, actual);
  if (mismatch !== null) throw new AppError('digest-mismatch', mismatch);
}

function keyReused(): AppError {
  return new AppError(
    'idempotency-key-reused',
    'This Idempotency-Key was used for a deposit with other content, name, type or headers: use a new key for a new deposit.',
  );
}

/** The taking with this very content. Throws AppError `idempotency-key-reused`. */
export function sameRequest(known: readonly Located[], requestDigest: string): Located {
  const same = known.find(({ record }) => record.deposit.requestDigest === requestDigest);
  if (!same) throw keyReused();
  return same;
}

/** The answer to a request that was taken before: the evidence as it is now, asked for once more. */
export async function replay(deps: TakeDeps, located: Located): Promise<Taken> {
  const { id } = located.record.deposit;
  let now = await deps.receipts.complete(located);
  let why: string | null = null;
  if (deps.receipts.make(now, []).durability === 'local') {
    why = 'not attested yet';
    if (now.at === 'here' && wasReceivedBy(now.record, deps.site)) {
      why = await attested(deps, id, deps.clock.monotonicMs());
      now = { at: 'here', record: (await deps.catalogue.find(id)) ?? now.record };
    }
  }
  if (why !== null && deps.requireBoth) throw unproven(id, true);
  const sameContentAs = await deps.receipts.sameContent(now);
  return { located: now, replay: true, sameContentAs, whyLocal: why };
}

/** A key that is known needs no storing: the body is hashed and compared with what was taken. */
export async function compareWithTaken(
  deps: TakeDeps,
  request: DepositRequest,
  body: ReadableStream<Uint8Array> | null,
  known: readonly Located[],
): Promise<Taken> {
  const hashers = {
    'sha-256': new Bun.CryptoHasher('sha256'),
    'sha-512': new Bun.CryptoHasher('sha512'),
    md5: new Bun.CryptoHasher('md5'),
  };
  const algorithms = new Set<DigestAlgorithm>([
    'sha-256',
    ...request.claims.map((claim) => claim.algorithm),
  ]);
  const take = (chunk: Uint8Array) => {
    for (const algorithm of algorithms) hashers[algorithm].update(chunk);
    return Promise.resolve();
  };
  const seen = await readBody(body, take, deps, deps.clock);
  if (request.expectedBytes !== null && seen !== request.expectedBytes) {
    throw new AppError('body-incomplete', 'The body ended early; nothing was kept.');
  }
  const actual: Partial<Record<DigestAlgorithm, string>> = {};
  for (const algorithm of algorithms) actual[algorithm] = hashers[algorithm].digest('hex');
  checkClaims(request, actual);
  return replay(deps, sameRequest(known, requestDigestOf(request, actual['sha-256'] ?? '')));
}
