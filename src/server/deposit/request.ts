/** A deposit request's headers, checked before a byte of the body is read. */
import { type DigestClaim, parseDigestHeaders } from '../../core/digest-headers.ts';
import { AppError } from '../../core/errors.ts';
import type { AccountName } from '../../core/ids.ts';
import { decodeHeaderText, uploadMediaType, uploadName } from '../../core/upload-name.ts';
import { HttpError } from '../problem.ts';

export interface DepositRequest {
  readonly collection: AccountName;
  readonly depositor: AccountName;
  readonly name: string;
  readonly mediaType: string;
  readonly onBehalfOf: string | null;
  readonly title: string | null;
  readonly packaging: string | null;
  readonly idempotencyKey: string | null;
  readonly claims: readonly DigestClaim[];
  /** Content-Length; null for a chunked body. */
  readonly expectedBytes: number | null;
}

const MAX_HEADER_TEXT_BYTES = 1024;

function textHeader(header: (name: string) => string | null, ...names: string[]): string | null {
  for (const name of names) {
    const text = decodeHeaderText(header(name) ?? '').trim();
    if (text === '') continue;
    if (new TextEncoder().encode(text).length > MAX_HEADER_TEXT_BYTES) {
      throw new AppError('bad-request', `${name} is longer than ${MAX_HEADER_TEXT_BYTES} bytes.`);
    }
    return text;
  }
  return null;
}

function idempotencyKey(header: string | null): string | null {
  if (header === null) return null;
  if (/^[\x21-\x7e]{1,255}$/.test(header)) return header;
  throw new AppError('bad-request', 'Idempotency-Key must be 1 to 255 visible ASCII characters.');
}

/** What this server cannot take is refused in words, never half understood. */
function refuseUnsupported(header: (name: string) => string | null): void {
  const mediaType = header('Content-Type') ?? '';
  if (/^\s*multipart\//i.test(mediaType)) {
    throw new HttpError(
      'bad-request',
      'Several files in one request (multipart) are not taken yet: send one file as the raw body, for example with curl --data-binary @FILE.',
      { status: 415, headers: [['Accept-Post', '*/*']] },
    );
  }
  const encoding = header('Content-Encoding')?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity') {
    throw new HttpError(
      'bad-request',
      `Content-Encoding ${encoding.slice(0, 40)} is not taken: send the bytes that are to be kept.`,
      { status: 415, headers: [['Accept-Encoding', 'identity']] },
    );
  }
  if (header('Content-Range') !== null) {
    throw new AppError('bad-request', 'Content-Range is not taken: send the whole file.');
  }
  if (header('In-Progress')?.trim().toLowerCase() === 'true') {
    throw new AppError(
      'bad-request',
      'In-Progress: true is not taken yet: a deposit is complete when its one file has arrived.',
    );
  }
}

function contentLength(header: string | null, maxBodyBytes: number): number | null {
  if (header === null) return null;
  const length = /^\d{1,15}$/.test(header) ? Number(header) : Number.NaN;
  if (Number.isNaN(length)) throw new AppError('bad-request', 'Content-Length is no number.');
  if (length > maxBodyBytes) throw tooLarge(length, maxBodyBytes);
  return length;
}

/** The 413 that names the limit and what was seen. */
export function tooLarge(seenBytes: number, maxBodyBytes: number): AppError {
  return new AppError(
    'too-large',
    `The body has ${seenBytes} bytes or more; at most ${maxBodyBytes} are taken in one request.`,
  );
}

/** Throws AppError `bad-request`, `bad-name`, `digest-invalid` or `too-large`. */
export function parseDepositRequest(
  header: (name: string) => string | null,
  target: { readonly collection: AccountName; readonly depositor: AccountName },
  maxBodyBytes: number,
): DepositRequest {
  refuseUnsupported(header);
  const mediaType = uploadMediaType(header('Content-Type'));
  const name = uploadName(header('Content-Disposition'), mediaType);
  if (!name.ok) throw new AppError('bad-name', name.detail);
  const digests = parseDigestHeaders(header);
  if (!digests.ok) throw new AppError('digest-invalid', digests.detail);
  return {
    ...target,
    name: name.name,
    mediaType,
    onBehalfOf: textHeader(header, 'On-Behalf-Of', 'X-On-Behalf-Of'),
    title: textHeader(header, 'Title'),
    packaging: textHeader(header, 'Packaging', 'X-Packaging'),
    idempotencyKey: idempotencyKey(header('Idempotency-Key')),
    claims: digests.claims,
    expectedBytes: contentLength(header('Content-Length'), maxBodyBytes),
  };
}
