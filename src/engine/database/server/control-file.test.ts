import { describe, expect, test } from 'bun:test';
import {
  crc32c,
  newSystemIdentifier,
  reidentifyControl,
  reidentifyWal,
  systemIdentifier,
} from './control-file.ts';

const CHECKSUM_AT = 296;

/** A control file laid out as PostgreSQL 18 does, with arbitrary content before the nonce. */
function sampleControl(): Uint8Array {
  const control = new Uint8Array(8192);
  for (let i = 0; i < CHECKSUM_AT - 40; i++) control[i] = (i * 7 + 1) & 0xff;
  const view = new DataView(control.buffer);
  view.setUint32(CHECKSUM_AT - 40, 1, true);
  control[CHECKSUM_AT - 36] = 1;
  control.fill(9, CHECKSUM_AT - 35, CHECKSUM_AT - 3);
  view.setUint32(CHECKSUM_AT, crc32c(control.subarray(0, CHECKSUM_AT)), true);
  return control;
}

describe('pg_control', () => {
  test('CRC-32C of the check string of RFC 3720', () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  });

  test('gets identifier, nonce and checksum, and nothing else', () => {
    const before = sampleControl();
    const nonce = new Uint8Array(32).fill(0xab);
    const after = reidentifyControl(before, 0x0123456789abcdefn, nonce);
    expect(systemIdentifier(after)).toBe(0x0123456789abcdefn);
    expect(after.subarray(CHECKSUM_AT - 35, CHECKSUM_AT - 3)).toEqual(nonce);
    const stored = new DataView(after.buffer).getUint32(CHECKSUM_AT, true);
    expect(stored).toBe(crc32c(after.subarray(0, CHECKSUM_AT)));
    const kept = (bytes: Uint8Array) => bytes.subarray(8, CHECKSUM_AT - 35);
    expect(kept(after)).toEqual(kept(before));
    expect(before).toEqual(sampleControl());
  });

  test('a damaged or unknown layout is refused', () => {
    const damaged = sampleControl();
    damaged[20] = (damaged[20] ?? 0) ^ 1;
    expect(() => reidentifyControl(damaged, 1n, new Uint8Array(32))).toThrow('damaged');
    const withoutChecksums = sampleControl();
    const view = new DataView(withoutChecksums.buffer);
    view.setUint32(CHECKSUM_AT - 40, 0, true);
    view.setUint32(CHECKSUM_AT, crc32c(withoutChecksums.subarray(0, CHECKSUM_AT)), true);
    expect(() => reidentifyControl(withoutChecksums, 1n, new Uint8Array(32))).toThrow('layout');
  });

  test('identifiers carry the time and differ within one second', () => {
    const one = newSystemIdentifier(1_790_000_000_123, 1);
    expect(one >> 32n).toBe(1_790_000_000n);
    expect(newSystemIdentifier(1_790_000_000_123, 2)).not.toBe(one);
    expect(newSystemIdentifier(1_790_000_000_123, 0xffffffff) < 2n ** 63n).toBe(true);
  });
});

describe('the first page of a WAL segment', () => {
  test('gets the identifier where it has a long header', () => {
    const page = new Uint8Array(8192);
    new DataView(page.buffer).setUint16(2, 0x0002, true);
    expect(reidentifyWal(page, 77n)).toBe(true);
    expect(new DataView(page.buffer).getBigUint64(24, true)).toBe(77n);
  });

  test('is left alone otherwise', () => {
    const page = new Uint8Array(8192);
    expect(reidentifyWal(page, 77n)).toBe(false);
    expect(page.every((byte) => byte === 0)).toBe(true);
  });
});
