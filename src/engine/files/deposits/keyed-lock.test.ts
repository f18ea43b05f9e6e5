import { expect, test } from 'bun:test';
import { createKeyedLock, createSemaphore } from './keyed-lock.ts';

test('one key is used one at a time and in order, whatever fails; keys do not wait for each other', async () => {
  const lock = createKeyedLock();
  const seen: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = lock.run('a', async () => {
    await gate.promise;
    seen.push('a1');
    throw new Error('a1 failed');
  });
  const second = lock.run('a', async () => seen.push('a2'));
  await lock.run('b', async () => seen.push('b1'));
  gate.resolve();
  expect(await first.catch((error: Error) => error.message)).toBe('a1 failed');
  await second;
  expect(seen).toEqual(['b1', 'a1', 'a2']);
});

test('a semaphore gives places in order, and none to who gave up', async () => {
  const places = createSemaphore(1);
  const release = await places.acquire();
  const gone = new AbortController();
  const givenUp = places.acquire(gone.signal);
  const patient = places.acquire();
  gone.abort();
  expect(await givenUp).toBeNull();
  release?.();
  release?.();
  const next = await patient;
  expect(next).not.toBeNull();
  expect(await places.acquire(AbortSignal.timeout(5))).toBeNull();
  next?.();
  expect(await places.acquire(AbortSignal.abort())).toBeNull();
  expect(await places.acquire()).not.toBeNull();
});
