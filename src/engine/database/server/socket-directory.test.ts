import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chooseSocketDirectory, isShortEnough } from './socket-directory.ts';

let scratch = '';
beforeEach(async () => {
  scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-socket-'));
});
afterEach(() => fs.rm(scratch, { recursive: true, force: true }));

describe('the socket directory', () => {
  test('counts bytes up to 107', () => {
    expect(isShortEnough(`/${'a'.repeat(92)}`)).toBe(true);
    expect(isShortEnough(`/${'a'.repeat(93)}`)).toBe(false);
    expect(isShortEnough(`/${'ä'.repeat(50)}`)).toBe(false);
  });

  test('is below the data directory when that is short', () => {
    expect(chooseSocketDirectory(scratch)).toBe(path.join(scratch, 'socket'));
  });

  test('is elsewhere, private and remembered when it is long', async () => {
    const long = path.join(scratch, 'x'.repeat(100));
    await fs.mkdir(long);
    const chosen = chooseSocketDirectory(long);
    try {
      expect(isShortEnough(chosen)).toBe(true);
      expect((await fs.stat(chosen)).mode & 0o777).toBe(0o700);
      expect(chooseSocketDirectory(long)).toBe(chosen);
    } finally {
      await fs.rm(chosen, { recursive: true, force: true });
    }
    const next = chooseSocketDirectory(long);
    expect(next).not.toBe(chosen);
    await fs.rm(next, { recursive: true, force: true });
  });
});
