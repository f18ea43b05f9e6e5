/** A deposit's rows, from what was asked and what arrived. */
import {
  type DepositFileRow,
  type DepositRow,
  depositEntity,
  depositFileId,
  keyDigestInput,
  keyedDepositId,
  type NewDeposit,
  requestDigestInput,
} from '../../core/deposit.ts';
import { depositPath } from '../../core/deposit-path.ts';
import { type DepositId, newUuid, type SiteName } from '../../core/ids.ts';
import type { Clock, UploadDigest } from '../../core/ports.ts';
import { rfc3339 } from '../../platform/clock.ts';
import { sha256Hex } from '../../platform/hashing.ts';
import type { DepositRequest } from './request.ts';

export interface Content {
  readonly digest: UploadDigest;
  readonly requestDigest: string;
}

/** Hex; equal for equal requests at both sites. */
export function requestDigestOf(request: DepositRequest, sha256: string): string {
  const { collection, onBehalfOf, title, packaging, name, mediaType } = request;
  return sha256Hex(
    requestDigestInput({
      collection,
      onBehalfOf,
      title,
      packaging,
      files: [{ name, mediaType, sha256 }],
    }),
  );
}

/** Hex; null without a key. */
export function keyDigestOf(request: DepositRequest): string | null {
  const { depositor, collection, idempotencyKey } = request;
  return idempotencyKey === null
    ? null
    : sha256Hex(keyDigestInput(depositor, collection, idempotencyKey));
}

/** All rows of one new deposit; only the event tells when and where it was taken. */
export function buildRows(
  deps: {
    readonly site: SiteName;
    readonly clock: Clock;
    readonly random: (bytes: number) => Uint8Array;
  },
  request: DepositRequest,
  content: Content,
  keyDigest: string | null,
): NewDeposit & { readonly file: DepositFileRow } {
  const { digest, requestDigest } = content;
  const now = deps.clock.wallMs();
  const id =
    keyDigest === null
      ? (newUuid(deps.random(16), now) as DepositId)
      : keyedDepositId(keyDigest, requestDigest);
  const fileId = depositFileId(id, 0, request.name, digest.sha256);
  const deposit: DepositRow = {
    id,
    collection: request.collection,
    depositor: request.depositor,
    onBehalfOf: request.onBehalfOf,
    title: request.title,
    packaging: request.packaging,
    fileCount: 1,
    requestDigest,
    keyDigest,
  };
  const file: DepositFileRow = {
    id: fileId,
    depositId: id,
    ordinal: 0,
    name: request.name,
    mediaType: request.mediaType,
    ...digest,
    path: depositPath(request.collection, id, fileId, request.name),
  };
  const received = {
    id: newUuid(deps.random(16), now),
    entity: depositEntity(id),
    counter: 1,
    site: deps.site,
    at: rfc3339(now),
    kind: 'received',
    body: {},
  };
  return { deposit, files: [file], events: [received], file };
}
