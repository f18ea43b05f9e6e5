import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  canEnter,
  findBarrier,
  findPasswd,
  makeEnterable,
  resolveServerAccount,
} from './account.ts';

const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\nbad:x:a:b::\n';
const isRoot = process.getuid?.() === 0;

let scratch = '';
beforeEach(async () => {
  scratch = await fs.realpath(await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-account-')));
});
afterEach(() => fs.rm(scratch, { recursive: true, force: true }));

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(() => 'no error', String);

describe('users', () => {
  test('are found by whole name', () => {
    expect(findPasswd(PASSWD, 'postgres')).toEqual({ uid: 101, gid: 104 });
    expect(findPasswd(PASSWD, 'post')).toBeNull();
    expect(findPasswd(PASSWD, 'bad')).toBeNull();
    expect(findPasswd('', 'postgres')).toBeNull();
  });

  test('root is refused by name and by number', async () => {
    for (const name of ['root', '0', '0:5']) {
      expect(await failure(resolveServerAccount(scratch, scratch, name))).toContain('AppError');
    }
  });

  test('an unknown one is refused with a way out', async () => {
    const text = await failure(resolveServerAccount(scratch, scratch, 'no-such-user'));
    expect(text).toMatch(isRoot ? 'UID:GID' : /UID:GID|only root/);
  });

  test.if(isRoot)('as root: numbers, the owner of the cluster, the owner above', async () => {
    expect(await resolveServerAccount(scratch, scratch, '1234:55')).toEqual({ uid: 1234, gid: 55 });
    const data = path.join(scratch, 'data');
    const cluster = path.join(data, 'cluster');
    await fs.mkdir(cluster, { recursive: true });
    await fs.chown(scratch, 1111, 1112);
    expect(await resolveServerAccount(data, cluster, undefined)).toEqual({ uid: 1111, gid: 1112 });
    await fs.chown(cluster, 2221, 2222);
    expect(await resolveServerAccount(data, cluster, undefined)).toEqual({ uid: 2221, gid: 2222 });
  });

  test.if(!isRoot)('as an ordinary user: ourselves', async () => {
    expect(await resolveServerAccount(scratch, scratch, undefined)).toBeNull();
  });
});

describe('ways into a directory', () => {
  const directory = { path: '/x', uid: 1, gid: 2, mode: 0o40000 };
  test.each([
    [0o711, { uid: 9, gid: 9 }, true],
    [0o710, { uid: 9, gid: 9 }, false],
    [0o710, { uid: 9, gid: 2 }, true],
    [0o701, { uid: 9, gid: 2 }, false],
    [0o700, { uid: 1, gid: 9 }, true],
    [0o077, { uid: 1, gid: 2 }, false],
  ])('mode %o for %p: %p', (mode, owner, expected) => {
    expect(canEnter({ ...directory, mode: directory.mode | mode }, owner)).toBe(expected);
  });

  test('the first barrier is named, and our own is opened', async () => {
    const inner = path.join(scratch, 'a/b');
    await fs.mkdir(inner, { recursive: true });
    await fs.chmod(scratch, 0o755);
    await fs.chmod(path.join(scratch, 'a'), 0o700);
    expect(await findBarrier(inner, { uid: 4711, gid: 4711 })).toBe(path.join(scratch, 'a'));
    await makeEnterable(path.join(scratch, 'a'));
    expect((await fs.stat(path.join(scratch, 'a'))).mode & 0o777).toBe(0o711);
    expect(await findBarrier(inner, { uid: 4711, gid: 4711 })).toBeNull();
  });
});
