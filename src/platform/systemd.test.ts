import { dlopen, FFIType, ptr } from 'bun:ffi';
import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ServiceContext } from '../core/service.ts';
import { systemClock } from './clock.ts';
import { silentLog } from './log.ts';
import { openServiceManager } from './systemd.ts';

const { symbols } = dlopen('libc.so.6', {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64 },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
});

/** A datagram socket as systemd has one. */
function listen(name: string): { next(): string | null; close(): void } {
  const bytes = new TextEncoder().encode(name.startsWith('@') ? `\0${name.slice(1)}` : `${name}\0`);
  const address = new Uint8Array(2 + bytes.length);
  address[0] = 1;
  address.set(bytes, 2);
  const fd = symbols.socket(1, 2, 0);
  expect(symbols.bind(fd, ptr(address), address.length)).toBe(0);
  const buffer = new Uint8Array(4096);
  return {
    next: () => {
      const length = Number(symbols.recv(fd, ptr(buffer), buffer.length, 0x40));
      return length < 0 ? null : new TextDecoder().decode(buffer.subarray(0, length));
    },
    close: () => symbols.close(fd),
  };
}

function context(signal: AbortSignal): ServiceContext {
  return { signal, clock: systemClock, log: silentLog, ready: () => undefined };
}

describe('sd_notify', () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'twinsite-notify-'));
  for (const name of [path.join(directory, 'socket'), `@twinsite-test-${process.pid}`]) {
    test(`says ready, status, stopping and watchdog to ${name[0]}…`, async () => {
      const systemd = listen(name);
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '20000', WATCHDOG_PID: '7' };
      const manager = openServiceManager({ env, pid: 7, clock: systemClock });
      manager.ready('paired\nwith b');
      expect(systemd.next()).toBe('READY=1\nSTATUS=paired with b\n');
      manager.status('alone');
      expect(systemd.next()).toBe('STATUS=alone\n');
      const stop = new AbortController();
      const running = manager.watchdog?.run(context(stop.signal));
      expect(running).toBeDefined();
      let pings = 0;
      const untilMs = performance.now() + 5_000;
      while (pings < 3 && performance.now() < untilMs) {
        if (systemd.next() === 'WATCHDOG=1\n') pings += 1;
        await systemClock.sleep(2);
      }
      expect(pings).toBe(3);
      stop.abort();
      await running;
      while (systemd.next() !== null);
      manager.stopping();
      expect(systemd.next()).toBe('STOPPING=1\n');
      systemd.close();
      if (!name.startsWith('@')) rmSync(directory, { recursive: true });
    });
  }

  test('is silent without a socket, with one that is gone, and for another process’s watchdog', () => {
    const open = (env: Record<string, string>) =>
      openServiceManager({ env, pid: 7, clock: systemClock });
    open({}).ready('x');
    open({ NOTIFY_SOCKET: '/nowhere/at/all' }).ready('x');
    open({ NOTIFY_SOCKET: `/${'x'.repeat(200)}` }).ready('x');
    open({ NOTIFY_SOCKET: 'relative' }).stopping();
    const env = { NOTIFY_SOCKET: '/nowhere', WATCHDOG_USEC: '20000', WATCHDOG_PID: '8' };
    expect(open(env).watchdog).toBeNull();
    expect(open({ WATCHDOG_USEC: '20000' }).watchdog).toBeNull();
  });
});
