/**
 * Names and identifiers. Everything that crosses a border is parsed here once and branded, so that
 * a plain string cannot be taken for a checked one.
 */
import { NIL, v5, v7, validate } from 'uuid';

/** The stable name of one of the two sites, e.g. `a` or `edinburgh`. */
export type SiteName = string & { readonly __brand: 'SiteName' };
/** A deposit's UUID in lower case: v7, or v5 when it was taken under an Idempotency-Key. */
export type DepositId = string & { readonly __brand: 'DepositId' };
/** A deposit file's UUID: v5 of (deposit, ordinal, name, content). */
export type FileId = string & { readonly __brand: 'FileId' };
/** The name of a collection, depositor or administrator. */
export type AccountName = string & { readonly __brand: 'AccountName' };

const SITE_NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
const ACCOUNT_NAME = /^[A-Za-z0-9]([A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?$/;

/** A site's name: 1 to 32 of `a-z 0-9 -`, beginning and ending with a letter or digit. */
export function parseSiteName(text: string): SiteName | null {
  return SITE_NAME.test(text) ? (text as SiteName) : null;
}

/** The name of a collection, depositor or admin: 1 to 64 of `A-Z a-z 0-9 . _ @ -`. */
export function parseAccountName(text: string): AccountName | null {
  return ACCOUNT_NAME.test(text) && !text.includes('..') ? (text as AccountName) : null;
}

/** A deposit id as it stands in a URL; upper case is folded, anything but a UUID is null. */
export function parseDepositId(text: string): DepositId | null {
  return validate(text) ? (text.toLowerCase() as DepositId) : null;
}

/** A deposit-file id; null for anything but a UUID. */
export function parseFileId(text: string): FileId | null {
  return validate(text) ? (text.toLowerCase() as FileId) : null;
}

/** 16 random bytes and a wall time become a UUIDv7 (RFC 9562); the caller brings both. */
export function newUuid(random: Uint8Array, wallMs: number): string {
  return v7({ random, msecs: wallMs });
}

/**
 * A UUIDv5 of the parts (RFC 9562), the same at both sites. Parts are joined by U+001F, which no
 * checked name contains, so that ("ab","c") and ("a","bc") differ.
 */
export function derivedUuid(namespace: string, ...parts: readonly string[]): string {
  return v5(parts.join('\u001f'), v5(namespace, NIL));
}
