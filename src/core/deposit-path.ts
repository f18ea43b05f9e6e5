/**
 * Where a deposit's file lies in the store, and which names a file may have. The path follows from
 * ids and the name alone, so that both sites and every retry come to the same one.
 */
import type { DepositFileRow } from './deposit.ts';
import {
  type AccountName,
  type DepositId,
  type FileId,
  parseAccountName,
  parseDepositId,
  parseFileId,
} from './ids.ts';

/** The longest name a client may give, in UTF-8 bytes. */
export const MAX_NAME_BYTES = 1024;
/** The longest name on disk, in bytes: leaves room below the 255 of common file systems. */
export const MAX_DISK_NAME_BYTES = 200;
/** An extension up to this length survives shortening. */
const MAX_KEPT_EXTENSION_BYTES = 20;

const encoder = new TextEncoder();

/** Null for a name that a deposit's file may have, else the error code to answer with. */
export function checkFileName(name: string): 'bad-name' | null {
  const bad =
    name === '' ||
    /[/\\\0]/.test(name) ||
    name.includes('..') ||
    // A lone surrogate has no UTF-8 form: row and disk would not say the same.
    !name.isWellFormed() ||
    encoder.encode(name).length > MAX_NAME_BYTES;
  return bad ? 'bad-name' : null;
}

function percent(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** One character as it stands on disk: itself, or each of its bytes as %XX. */
function diskUnit(character: string, first: boolean): string {
  const code = character.codePointAt(0) ?? 0;
  const control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  // A leading dot would hide the file, or look like a name that the store keeps for itself.
  const encode = control || character === '%' || (first && character === '.');
  return encode ? [...encoder.encode(character)].map(percent).join('') : character;
}

/**
 * The name on disk of a name that checkFileName let pass: control characters, `%` and a leading dot
 * are percent-encoded; above 200 bytes it is cut between characters and keeps a short extension.
 */
export function diskName(name: string): string {
  const units = [...name].map((character, index) => diskUnit(character, index === 0));
  const sizes = units.map((unit) => encoder.encode(unit).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total <= MAX_DISK_NAME_BYTES) return units.join('');
  const dot = units.lastIndexOf('.');
  const sizeFrom = (index: number) => sizes.slice(index).reduce((sum, size) => sum + size, 0);
  const keepExtension = dot > 0 && sizeFrom(dot) <= MAX_KEPT_EXTENSION_BYTES;
  const extension = keepExtension ? units.slice(dot).join('') : '';
  let room = MAX_DISK_NAME_BYTES - (keepExtension ? sizeFrom(dot) : 0);
  let stem = '';
  for (const [index, unit] of units.entries()) {
    room -= sizes[index] ?? 0;
    if (room < 0) break;
    stem += unit;
  }
  return stem + extension;
}

/** `deposits/<collection>/<last two hex of id>/<deposit id>/<file id>/<name on disk>`. */
export function depositPath(
  collection: AccountName,
  depositId: DepositId,
  fileId: FileId,
  name: string,
): string {
  return `deposits/${collection}/${depositId.slice(-2)}/${depositId}/${fileId}/${diskName(name)}`;
}

export interface DepositPathParts {
  readonly collection: AccountName;
  readonly depositId: DepositId;
  readonly fileId: FileId;
  readonly diskName: string;
}

/** The parts of a well-formed deposit path; null for anything else, whatever dots it holds. */
export function parseDepositPath(path: string): DepositPathParts | null {
  const [top, account = '', shard, deposit = '', file = '', name = '', ...rest] = path.split('/');
  const collection = parseAccountName(account);
  const depositId = parseDepositId(deposit);
  const fileId = parseFileId(file);
  if (!collection || !depositId || !fileId || top !== 'deposits' || rest.length > 0) return null;
  if (depositId !== deposit || fileId !== file || shard !== depositId.slice(-2)) return null;
  if (name === '' || name.startsWith('.') || name.includes('\0')) return null;
  if (encoder.encode(name).length > MAX_DISK_NAME_BYTES) return null;
  return { collection, depositId, fileId, diskName: name };
}

/** True when the path is exactly the one that follows from the file's ids and name. */
export function isPathOf(
  file: Pick<DepositFileRow, 'id' | 'depositId' | 'name' | 'path'>,
): boolean {
  const parts = parseDepositPath(file.path);
  return (
    parts !== null &&
    checkFileName(file.name) === null &&
    depositPath(parts.collection, file.depositId, file.id, file.name) === file.path
  );
}
