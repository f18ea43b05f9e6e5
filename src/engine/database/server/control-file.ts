/**
 * A cluster's identity. Every site unpacks the same template, so each copy gets a system identifier
 * and an authentication nonce of its own, as initdb would have given it.
 */
import { AppError } from '../../../core/errors.ts';

const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli), as PostgreSQL guards pg_control with. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC32C_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** pg_control's content never exceeds one sector; the file is padded with zeros. */
const CONTROL_DATA_LIMIT = 512;
const CONTROL_FILE_BYTES = 8192;
const NONCE_BYTES = 32;
/** Between the nonce and the checksum: the struct is aligned to 4, the nonce begins one byte off. */
const NONCE_PADDING = 3;
const WAL_LONG_HEADER = 0x0002;
const WAL_SYSTEM_ID_OFFSET = 24;

/** Where the checksum stands: the one offset whose 4 bytes are the CRC-32C of all before it. */
function findChecksum(control: Uint8Array): number {
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  for (let offset = 64; offset <= CONTROL_DATA_LIMIT - 4; offset += 4) {
    const stored = view.getUint32(offset, true);
    if (stored !== 0 && stored === crc32c(control.subarray(0, offset))) return offset;
  }
  throw new AppError(
    'database-incompatible',
    'The control file of the cluster template is damaged.',
  );
}

/** The system identifier in a pg_control file. */
export function systemIdentifier(control: Uint8Array): bigint {
  return new DataView(control.buffer, control.byteOffset).getBigUint64(0, true);
}

/** Time in the high half, as initdb does, and 32 random bits, so that two sites never agree by chance. */
export function newSystemIdentifier(wallMs: number, random: number): bigint {
  return (BigInt(Math.floor(wallMs / 1000)) << 32n) | BigInt(random >>> 0);
}

/** A copy of pg_control with another identifier and nonce. Throws when the layout is not the known one. */
export function reidentifyControl(
  control: Uint8Array,
  identifier: bigint,
  nonce: Uint8Array,
): Uint8Array {
  const checksum = findChecksum(control);
  const nonceAt = checksum - NONCE_PADDING - NONCE_BYTES;
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  // Before the nonce: data_checksum_version (uint32, 1 = on) and default_char_signedness (bool).
  const isKnownLayout =
    control.length === CONTROL_FILE_BYTES &&
    nonce.length === NONCE_BYTES &&
    view.getUint32(nonceAt - 5, true) === 1 &&
    (control[nonceAt - 1] ?? 2) <= 1 &&
    control.subarray(checksum - NONCE_PADDING, checksum).every((byte) => byte === 0);
  if (!isKnownLayout) {
    throw new AppError('database-incompatible', 'The cluster template has an unknown layout.');
  }
  const copy = control.slice();
  const out = new DataView(copy.buffer);
  out.setBigUint64(0, identifier, true);
  copy.set(nonce, nonceAt);
  out.setUint32(checksum, crc32c(copy.subarray(0, checksum)), true);
  return copy;
}

/**
 * Writes the identifier into the first page header of a WAL segment, in place. Returns false when the
 * segment has no long header (an unused, preallocated one).
 */
export function reidentifyWal(firstPage: Uint8Array, identifier: bigint): boolean {
  const view = new DataView(firstPage.buffer, firstPage.byteOffset, firstPage.byteLength);
  if ((view.getUint16(2, true) & WAL_LONG_HEADER) === 0) return false;
  view.setBigUint64(WAL_SYSTEM_ID_OFFSET, identifier, true);
  return true;
}
