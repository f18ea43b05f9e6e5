import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { systemClock } from '../../../platform/clock.ts';
import { silentLog } from '../../../platform/log.ts';
import { isServerOf, parsePidFile, parsePidFileStatus, removeLeftovers } from './leftovers.ts';

let cluster = '';
beforeEach(async () => {
  cluster = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-leftovers-'));
});
afterEach(() => fs.rm(cluster, { recursive: true, force: true }));

describe('postmaster.pid', () => {
  test('gives pid and status', () => {
    const text = '123\n/x\n1790000000\n5432\n/sock\n\n  1  2\nready   \n';
    expect(parsePidFile(text)).toBe(123);
    expect(parsePidFileStatus(text)).toBe('ready');
    expect(parsePidFile('-7\n')).toBe(7);
    expect(parsePidFile('')).toBeNull();
    expect(parsePidFile('x\n')).toBeNull();
    expect(parsePidFileStatus('123\n')).toBeNull();
  });

  test('of another living process is stale: the process is spared, the file removed', async () => {
    const pidFile = path.join(cluster, 'postmaster.pid');
    await fs.writeFile(pidFile, `${process.pid}\n${cluster}\n`);
    expect(await isServerOf(process.pid, cluster)).toBe(false);
    await removeLeftovers(cluster, systemClock, silentLog, new AbortController().signal);
    expect(await fs.exists(pidFile)).toBe(false);
  });

  test('none is fine', async () => {
    await removeLeftovers(cluster, systemClock, silentLog, new AbortController().signal);
  });
});
