import { expect, test } from 'bun:test';
import type { DepositRow } from '../../../core/deposit.ts';
import type { DepositId } from '../../../core/ids.ts';
import { systemClock } from '../../../platform/clock.ts';
import { createArrivals } from './arrivals.ts';
import type { VisibleDeposit } from './visible-rows.ts';

const visible = (id: DepositId): VisibleDeposit => ({
  deposit: { id } as DepositRow,
  files: [],
  received: null,
});

function setUp() {
  const here = new Set<DepositId>();
  const nothing: () => void = () => undefined;
  const state = { looks: 0, fails: 0, notify: nothing };
  const arrivals = createArrivals({
    read: async (ids) => {
      state.looks += 1;
      if (state.fails > 0) {
        state.fails -= 1;
        throw new Error('database away');
      }
      return ids.filter((id) => here.has(id)).map(visible);
    },
    onArrival: (listener) => {
      state.notify = listener;
      return () => undefined;
    },
    clock: systemClock,
    failed: () => undefined,
  });
  return { here, state, arrivals };
}

const id = (n: number) => `id-${n}` as DepositId;
const never = new AbortController().signal;

test('rows that are here are given at once, to all who wait', async () => {
  const { here, arrivals } = setUp();
  here.add(id(1));
  const rows = await Promise.all([arrivals.wait(id(1), never), arrivals.wait(id(1), never)]);
  expect(rows.map((row) => row?.deposit.id)).toEqual([id(1), id(1)]);
});

test('one statement serves everything that is waited for', async () => {
  const { here, state, arrivals } = setUp();
  const waiting = Array.from({ length: 100 }, (_, n) => arrivals.wait(id(n), never));
  for (let n = 0; n < 100; n += 1) here.add(id(n));
  state.notify();
  expect((await Promise.all(waiting)).every((row) => row !== null)).toBe(true);
  expect(state.looks).toBeLessThan(5);
});

test('without a notification it is found by looking', async () => {
  const { here, arrivals } = setUp();
  const waiting = arrivals.wait(id(1), never);
  await Bun.sleep(30);
  here.add(id(1));
  expect((await waiting)?.deposit.id).toBe(id(1));
});

test('an abort ends the wait with null, and the looking with it', async () => {
  const { state, arrivals } = setUp();
  const over = new AbortController();
  const waiting = arrivals.wait(id(1), over.signal);
  over.abort();
  expect(await waiting).toBeNull();
  await Bun.sleep(40);
  const { looks } = state;
  await Bun.sleep(60);
  expect(state.looks).toBe(looks);
  expect(await arrivals.wait(id(2), over.signal)).toBeNull();
});

test('a database that is away for a while is asked again', async () => {
  const { here, state, arrivals } = setUp();
  state.fails = 3;
  here.add(id(1));
  expect((await arrivals.wait(id(1), never))?.deposit.id).toBe(id(1));
});
