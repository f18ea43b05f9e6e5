import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { StoreCheck } from '../../src/core/store-guard.ts';
import { createFilestoreLink } from '../../src/failover/filestore-link.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { rejection } from './two-sites.ts';

let base = '';
beforeEach(() => {
  base = mkdtempSync(path.join(os.tmpdir(), 'twinsite-link-'));
  for (const name of ['san_a', 'san_b', 'home']) mkdirSync(path.join(base, name));
  for (const name of ['a', 'b']) writeFileSync(path.join(base, `san_${name}`, 'which'), name);
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const at = () => path.join(base, 'home', 'filestore');
const link = () =>
  createFilestoreLink({
    path: at(),
    ownStore: path.join(base, 'san_a'),
    clock: systemClock,
    log: silentLog,
  });
const check = (name: 'a' | 'b', change: Partial<StoreCheck> = {}): StoreCheck => ({
  root: path.join(base, `san_${name}`),
  atMs: systemClock.monotonicMs(),
  condition: 'ok',
  reason: null,
  storeId: name,
  freeBytes: 1,
  totalBytes: 1,
  ...change,
});

describe('the filestore link', () => {
  test('is made when it is missing, taken over when it is a link, and then left alone', async () => {
    const filestore = link();
    await filestore.prepare();
    expect(await filestore.inspect()).toEqual({ kind: 'missing' });
    expect(await filestore.point(check('a'))).toEqual({ changed: true, before: null });
    const inode = lstatSync(at()).ino;
    expect(await filestore.point(check('a'))).toMatchObject({ changed: false });
    expect(lstatSync(at()).ino).toBe(inode);
    rmSync(at());
    symlinkSync('../somewhere', at());
    expect(await filestore.point(check('b'))).toEqual({ changed: true, before: '../somewhere' });
    expect(readlinkSync(at())).toBe(path.join(base, 'san_b'));
    expect(readdirSync(path.join(base, 'home'))).toEqual(['filestore']);
  });

  test('that is a directory or a file is refused with the commands, and not touched', async () => {
    mkdirSync(at());
    const directory = await rejection(link().prepare());
    expect(directory.code).toBe('filestore-invalid');
    for (const text of ['a directory', `mv ${at()} ${at()}.before`, 'ln -s', 'store init']) {
      expect(directory.message).toContain(text);
    }
    expect((await rejection(link().point(check('a')))).code).toBe('filestore-invalid');
    rmSync(at(), { recursive: true });
    writeFileSync(at(), 'mine');
    expect((await rejection(link().prepare())).message).toContain('a file');
    expect((await rejection(link().point(check('a')))).code).toBe('filestore-invalid');
  });

  test('never goes to a store whose check is old, failed or read-only', async () => {
    const filestore = link();
    await filestore.point(check('a'));
    for (const bad of [
      { atMs: systemClock.monotonicMs() - 1_500 },
      { condition: 'failed', reason: 'does not answer' },
      { condition: 'read-only', reason: 'is mounted read-only' },
    ] as const) {
      expect((await rejection(filestore.point(check('b', bad)))).code).toBe('store-failed');
    }
    expect(readlinkSync(at())).toBe(path.join(base, 'san_a'));
  });

  test('whose directory is missing, or a store path that leads through it, is a matter of configuration', async () => {
    rmSync(path.join(base, 'home'), { recursive: true });
    expect((await rejection(link().prepare())).code).toBe('config');
    const loop = createFilestoreLink({
      path: path.join(base, 'san_a'),
      ownStore: path.join(base, 'san_a', 'inner'),
      clock: systemClock,
      log: silentLog,
    });
    expect((await rejection(loop.prepare())).code).toBe('config');
  });

  test.skipIf(process.getuid?.() !== 0)(
    'without the right to write in its directory is told at the start, with the path',
    async () => {
      chmodSync(base, 0o755);
      const child = Bun.spawn(
        [process.execPath, path.join(import.meta.dir, 'link-child.ts'), at(), base],
        { uid: 65534, gid: 65534, stdout: 'pipe', stderr: 'pipe' },
      );
      const said = await new Response(child.stdout).text();
      expect(said).toContain('no-permission');
      expect(said).toContain(path.join(base, 'home'));
    },
  );

  test('is never missing and never torn for a reader, through a hundred flips and 10,000 reads', async () => {
    const filestore = link();
    await filestore.point(check('a'));
    const reader = Bun.spawn(
      [process.execPath, path.join(import.meta.dir, 'link-reader.ts'), at(), '10000'],
      { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' },
    );
    for (let flips = 0; flips < 100; flips += 1) {
      await filestore.point(check(flips % 2 === 0 ? 'b' : 'a'));
    }
    await reader.stdin.end();
    const seen = JSON.parse(await new Response(reader.stdout).text()) as {
      failures: string[];
      a: number;
      b: number;
    };
    expect(seen.failures).toEqual([]);
    expect(seen.a + seen.b).toBeGreaterThanOrEqual(10_000);
    expect(Math.min(seen.a, seen.b)).toBeGreaterThan(0);
  }, 60_000);
});
