import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { GuardedStore } from '../../../core/store-guard.ts';
import { createAlarms } from '../../../platform/alarms.ts';
import { systemClock } from '../../../platform/clock.ts';
import { silentLog } from '../../../platform/log.ts';
import { initStore } from './init-store.ts';
import { takeDataLock } from './lock.ts';
import { openOwnStore } from './own-store.ts';

let base = '';
const opened: GuardedStore[] = [];

beforeEach(() => {
  base = mkdtempSync(path.join(os.tmpdir(), 'twinsite-store-'));
  mkdirSync(path.join(base, 'san'));
  mkdirSync(path.join(base, 'data'));
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  rmSync(base, { recursive: true, force: true });
});

const san = () => path.join(base, 'san');

async function open(more: { peerKnows?: string | null; deadlineMs?: number } = {}) {
  const alarms = createAlarms(systemClock, silentLog);
  const store = await openOwnStore({
    root: san(),
    dataDir: path.join(base, 'data'),
    identity: { pairId: 'pair', site: 'a' },
    peerKnowsStoreId: () => ('peerKnows' in more ? more.peerKnows : null),
    clock: systemClock,
    log: silentLog,
    alarms,
    deadlineMs: more.deadlineMs ?? 2_000,
  });
  opened.push(store);
  return { store, alarms };
}

describe('an own store', () => {
  test('begins in an empty directory, is remembered, and is held', async () => {
    mkdirSync(path.join(san(), 'lost+found'));
    const { store } = await open();
    expect(store.health()).toEqual({ ok: true });
    const marker = JSON.parse(readFileSync(path.join(san(), '.twinsite/store.json'), 'utf8'));
    expect(marker).toMatchObject({ format: 1, storeId: store.id, pair: 'pair', site: 'a' });
    writeFileSync(store.at('f'), 'x');
    expect(readFileSync(path.join(san(), 'f'), 'utf8')).toBe('x');
    await store.assertSame();
    expect(store.status()).toMatchObject({ health: 'ok', id: store.id });
    expect(store.status().freeBytes).toBeGreaterThan(0);
    await store.close();
    const again = await open();
    expect(again.store.id).toBe(store.id);
  });

  test('a second process on it is refused with the pid', async () => {
    await open();
    rmSync(path.join(base, 'data', 'store.json'));
    const second = await open().catch((error: unknown) => error);
    expect(second).toMatchObject({ code: 'data-locked' });
    expect(String(second)).toContain(String(process.pid));
    const lock = takeDataLock(path.join(base, 'data'));
    expect(() => takeDataLock(path.join(base, 'data'))).toThrow(`process ${process.pid}`);
    lock.release();
    takeDataLock(path.join(base, 'data')).release();
  });

  test('B4: a store that vanishes from its path swallows nothing, is failed, and comes back', async () => {
    const { store, alarms } = await open();
    const { id } = store;
    const given = store.at('late');
    renameSync(san(), path.join(base, 'away'));
    mkdirSync(san());
    expect(await rejection(store.assertSame())).toMatchObject({ code: 'store-failed' });
    expect(store.health().ok).toBe(false);
    await store.probe.check();
    expect(store.condition()).toBe('failed');
    expect(alarms.list().map((alarm) => alarm.code)).toEqual(['store-unmarked']);
    expect(alarms.list()[0]?.text).toContain(id);
    expect(readdirSync(san())).toEqual([]);
    expect(() => store.at('f')).toThrow('not available');
    expect(() => writeFileSync(given, 'x')).toThrow('ENOENT');
    rmSync(san(), { recursive: true });
    renameSync(path.join(base, 'away'), san());
    await store.probe.check();
    expect(store.health()).toEqual({ ok: true });
    expect(store.id).toBe(id);
    expect(alarms.list()).toEqual([]);
    writeFileSync(store.at('f'), 'x');
  });

  test('that the peer knows under another id is left alone', async () => {
    const { store } = await open({ peerKnows: '01890000-0000-7000-8000-000000000000' });
    expect(store.health().ok).toBe(false);
    expect(readdirSync(san())).toEqual([]);
  });

  test('with files is adopted only when a person says so, and never with deposits', async () => {
    writeFileSync(path.join(san(), 'paper.pdf'), 'x');
    const refused = await open();
    expect(refused.store.health().ok).toBe(false);
    await refused.store.close();
    const options = { pairId: null, site: null, wallMs: 1_000 };
    expect((await rejection(initStore(san(), { adopt: false, ...options }))).message).toContain(
      '--adopt',
    );
    mkdirSync(path.join(san(), 'deposits'));
    expect((await rejection(initStore(san(), { adopt: true, ...options }))).message).toContain(
      'deposits/',
    );
    rmSync(path.join(san(), 'deposits'), { recursive: true });
    const { message } = await initStore(san(), { adopt: true, ...options });
    expect(message).toContain('Next:');
    expect((await rejection(initStore(san(), { adopt: true, ...options }))).message).toContain(
      'already',
    );
    const { store } = await open();
    expect(store.health()).toEqual({ ok: true });
    expect(store.settled()).toBe(true);
  });

  test('a doubt fails it until a probe clears it', async () => {
    const { store } = await open();
    store.doubt('an fsync failed');
    expect(store.health()).toEqual({ ok: false, reason: 'an fsync failed' });
    await store.probe.check();
    await store.probe.check();
    expect(store.health()).toEqual({ ok: true });
  });

  test('C9: does not answer when its probe hangs; the hung child is gone before another starts', async () => {
    const { store } = await open({ deadlineMs: 150 });
    const stopped = childOf(san());
    process.kill(stopped, 'SIGSTOP');
    const check = await store.probe.check();
    expect(check).toMatchObject({ condition: 'failed', reason: 'does not answer' });
    // Readers keep their handle: only the health is gone.
    expect(existsSync(store.at('.twinsite/store.json'))).toBe(true);
    const until = performance.now() + 3_000;
    while ((await store.probe.check()).condition !== 'ok' && performance.now() < until) {
      await systemClock.sleep(10);
    }
    expect(store.health()).toEqual({ ok: true });
    expect(childOf(san())).not.toBe(stopped);
  });

  test('keeps epochs, and refuses to write one elsewhere', async () => {
    const { store } = await open();
    expect(await store.probe.readEpoch()).toBeNull();
    await store.probe.writeEpoch({ number: 3, site: 'a' as never });
    expect(await store.probe.readEpoch()).toEqual({ number: 3, site: 'a' as never });
    renameSync(san(), path.join(base, 'away'));
    mkdirSync(san());
    expect(
      await rejection(store.probe.writeEpoch({ number: 4, site: 'b' as never })),
    ).toMatchObject({ code: 'store-failed' });
    expect(readdirSync(san())).toEqual([]);
  });

  test('a path that never was a store is told at once', async () => {
    rmSync(san(), { recursive: true });
    expect(await rejection(open())).toMatchObject({ code: 'config' });
  });
});

function childOf(root: string): number {
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return argv.includes('probe') && argv.includes(root);
      } catch {
        return false;
      }
    });
  return Number(found[0]);
}

async function rejection(promise: Promise<unknown>): Promise<{ code?: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { code?: string; message: string };
  }
  throw new Error('it was not rejected');
}
