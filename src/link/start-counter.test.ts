import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { silentLog } from '../platform/log.ts';
import { openPeerMemory } from './peer-memory.ts';
import { nextStartCounter } from './start-counter.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'twinsite-counter-'));
});
afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
});

test('it rises at each start, also when the clock went back, and survives loss of the data', async () => {
  expect(await nextStartCounter(dir, 5_000_000)).toBe(5000);
  expect(await nextStartCounter(dir, 5_000_000)).toBe(5001);
  expect(await nextStartCounter(dir, 1_000)).toBe(5002);
  expect(await readFile(path.join(dir, 'start-counter'), 'utf8')).toBe('5002\n');
  await writeFile(path.join(dir, 'start-counter'), 'rotten');
  expect(await nextStartCounter(dir, 6_000_000)).toBe(6000);
  await rm(path.join(dir, 'start-counter'));
  expect(await nextStartCounter(dir, 7_000_000)).toBe(7000);
});

test('a directory that cannot be written is an AppError', async () => {
  const thrown = await nextStartCounter(path.join(dir, 'missing')).catch((error: unknown) => error);
  expect(thrown).toMatchObject({ code: 'config', message: expect.stringContaining('--data') });
});

test('the memory of the peer keeps the newest start across restarts, for its own pair only', async () => {
  const memory = await openPeerMemory(dir, 'pair-1', silentLog);
  expect(memory.known()).toBeNull();
  await Promise.all([
    memory.remember({ startCounter: 7, instanceId: 'instance-7' }),
    memory.remember({ startCounter: 9, instanceId: 'instance-9' }),
    memory.remember({ startCounter: 8, instanceId: 'instance-8' }),
    memory.remember({ startCounter: 9, instanceId: 'instance-x' }),
  ]);
  await memory.rememberIp('peer.example', '10.0.0.2');
  const again = await openPeerMemory(dir, 'pair-1', silentLog);
  expect(again.known()).toMatchObject({ startCounter: 9, instanceId: 'instance-9' });
  expect(again.lastGoodIp('peer.example')).toBe('10.0.0.2');
  expect(again.lastGoodIp('other.example')).toBeNull();
  expect((await openPeerMemory(dir, 'pair-2', silentLog)).known()).toBeNull();
  await writeFile(path.join(dir, 'peer-start.json'), '{"rotten":');
  expect((await openPeerMemory(dir, 'pair-1', silentLog)).known()).toBeNull();
});
