import { describe, expect, test } from 'bun:test';
import type { ManifestEntry } from './manifest.ts';
import {
  isQuiet,
  isRacy,
  mergedMetadata,
  type Observed,
  observedToken,
  parseToken,
  quietInMs,
  sameFile,
} from './scan-judgement.ts';

const NOW_MS = 1_800_000_000_000;
const NS = 1_000_000n;
const file = (changes: Partial<Observed> = {}): Observed => ({
  type: 'file',
  size: 5,
  mtimeNs: BigInt(NOW_MS) * NS - 40n * NS + 7n,
  ctimeNs: BigInt(NOW_MS) * NS,
  ino: 9_007_199_254_740_993n,
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  ...changes,
});

describe('tokens', () => {
  test('tell any change of a file, and only rights of a directory', () => {
    const token = observedToken(file());
    for (const change of [
      { size: 6 },
      { mtimeNs: 1n },
      { ctimeNs: 1n },
      { ino: 1n },
      { mode: 0o600 },
      { uid: 0 },
      { gid: 0 },
      { type: 'symlink' as const },
    ]) {
      expect(observedToken(file(change))).not.toBe(token);
    }
    const directory = file({ type: 'dir' });
    expect(observedToken({ ...directory, size: 1, mtimeNs: 1n, ctimeNs: 1n, ino: 1n })).toBe(
      observedToken(directory),
    );
    expect(observedToken({ ...directory, mode: 0o700 })).not.toBe(observedToken(directory));
  });

  test('are read back exactly', () => {
    expect(parseToken(observedToken(file()))).toMatchObject({
      type: 'file',
      ino: 9_007_199_254_740_993n,
      mtimeNs: file().mtimeNs,
    });
    expect(parseToken('nonsense')).toBe(null);
  });
});

test('a rename moves only ctime: it is the same file', () => {
  expect(sameFile(file(), file({ ctimeNs: 5n, mode: 0o600 }))).toBe(true);
  expect(sameFile(file(), file({ size: 6 }))).toBe(false);
});

test('quiet: by its own time, never by a time in the future', () => {
  expect(isQuiet(file(), NOW_MS, 30)).toBe(true);
  expect(isQuiet(file(), NOW_MS, 50)).toBe(false);
  expect(isQuiet(file({ mtimeNs: BigInt(NOW_MS + 60_000) * NS }), NOW_MS, 50)).toBe(false);
  expect(quietInMs(file(), NOW_MS, 50)).toBeGreaterThanOrEqual(10);
  expect(quietInMs(file(), NOW_MS, 50)).toBeLessThanOrEqual(11);
  expect(quietInMs(file({ mtimeNs: BigInt(NOW_MS + 60_000) * NS }), NOW_MS, 50)).toBe(50);
});

test('racy: a stamp as young as the clock of its file system is coarse', () => {
  const at = (agoMs: number, extraNs: bigint) =>
    file({ mtimeNs: BigInt(NOW_MS - agoMs) * NS + extraNs });
  expect(isRacy(at(10, 5n), NOW_MS)).toBe(true);
  expect(isRacy(at(50, 5n), NOW_MS)).toBe(false);
  // Whole seconds only.
  expect(isRacy(at(1_000, 0n), NOW_MS)).toBe(true);
  expect(isRacy(at(3_000, 0n), NOW_MS)).toBe(false);
});

describe('metadata', () => {
  const entry = { mode: 0o777, uid: 5, gid: 6, mtimeNs: 123n } as ManifestEntry;

  test('what could not be applied here does not echo', () => {
    const token = observedToken(file());
    expect(mergedMetadata(entry, token, file())).toEqual({
      mode: 0o777,
      uid: 5,
      gid: 6,
      mtimeNs: 123n,
    });
  });

  test('only the field that someone changed is taken over', () => {
    const token = observedToken(file());
    expect(mergedMetadata(entry, token, file({ mode: 0o600 }))).toEqual({
      mode: 0o600,
      uid: 5,
      gid: 6,
      mtimeNs: 123n,
    });
  });

  test('a first look takes everything', () => {
    expect(mergedMetadata(entry, null, file())).toMatchObject({ mode: 0o644, uid: 1000 });
  });
});
