/** What time does to connections: pings, death by silence, idleness. */
import { afterEach, expect, setDefaultTimeout, test } from 'bun:test';
import net from 'node:net';
import type { Clock, Exchange } from '../../src/core/ports.ts';
import { IDLE_LANE_MS, LANE_DEAD_MS } from '../../src/link/limits.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { freePort, newPair, readAll, startLink, until } from './link-pair.ts';

setDefaultTimeout(30_000);
/** A clock that can be hurried; it starts at the usual pace, so that hellos have their time. */
let pace = 1;
let virtualMs = 0;
let realMs = systemClock.monotonicMs();
const now = () => {
  const real = systemClock.monotonicMs();
  virtualMs += (real - realMs) * pace;
  realMs = real;
  return virtualMs;
};
const hurry = (times: number) => {
  now();
  pace = times;
};
const clock: Clock = {
  monotonicMs: now,
  wallMs: () => systemClock.wallMs(),
  async sleep(ms, signal) {
    const end = now() + ms;
    while (now() < end && !signal?.aborted) await systemClock.sleep(Math.min(ms, 3), signal);
  },
};
const SOON = { timeoutMs: 20_000 };
const identities = await newPair();
const closers: (() => unknown)[] = [];
afterEach(async () => {
  hurry(1);
  for (const close of closers.splice(0).reverse()) await close();
});

/** Forwards bytes until it is frozen; then it keeps both connections open and silent. */
async function startProxy(target: number): Promise<{ port: number; freeze(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect(target, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('data', (bytes) => {
        if (!frozen) to.write(bytes);
      });
      from.on('close', () => {
        if (!frozen) to.destroy();
      });
    }
  });
  let frozen = false;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  closers.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    port: (server.address() as net.AddressInfo).port,
    freeze: () => {
      frozen = true;
    },
  };
}

async function startTwo(direct = false) {
  const a = await startLink({
    identity: identities.a,
    peerUrl: `https://127.0.0.1:${await freePort()}`,
    clock,
  });
  closers.push(() => a.stop());
  const proxy = await startProxy(a.address()?.port ?? 0);
  const b = await startLink({
    identity: identities.b,
    peerUrl: `https://127.0.0.1:${direct ? a.address()?.port : proxy.port}`,
    clock,
  });
  closers.push(() => b.stop());
  const served = Promise.withResolvers<Exchange>();
  const ended = Promise.withResolvers<string>();
  a.link.serve('hold', async (exchange) => {
    served.resolve(exchange);
    const outcome = await readAll(exchange.incoming).then(
      () => 'ended',
      (error: Error) => error.message,
    );
    ended.resolve(outcome);
    await exchange.end();
  });
  a.link.answer('ok', async () => true);
  return { a, b, proxy, served: served.promise, ended: ended.promise };
}

test('a silent exchange lives on pings; idle connections are closed after a while', async () => {
  const { b, ended } = await startTwo();
  const exchange = await b.link.open('hold', {}, SOON);
  const opened = clock.monotonicMs();
  hurry(200);
  await until(() => clock.monotonicMs() - opened > 3 * LANE_DEAD_MS);
  await exchange.end();
  expect((await readAll(exchange.incoming)).length).toBe(0);
  expect(await ended).toBe('ended');
  const idle = clock.monotonicMs();
  await until(
    () => b.counts.get('link_lanes{idle}') === 0 && clock.monotonicMs() - idle > IDLE_LANE_MS,
  );
  hurry(1);
  expect(await b.link.request('ok', {}, SOON)).toBe(true);
  expect(b.counts.get('link_connections_total{outbound,ok}')).toBe(2);
});

test('a path that swallows everything is noticed at both ends', async () => {
  const { b, proxy, ended } = await startTwo();
  const exchange = await b.link.open('hold', {}, SOON);
  proxy.freeze();
  hurry(200);
  const outcome = await readAll(exchange.incoming).then(
    () => 'ended',
    (error: Error) => error.message,
  );
  expect(outcome).toContain('silent too long');
  expect(await ended).toContain('silent too long');
});

test('a reader that pauses for long is not taken for dead, nor its sender', async () => {
  const { a, b, served } = await startTwo(true);
  const gate = Promise.withResolvers<void>();
  let received = 0;
  const size = 64 * 1024 * 1024;
  const exchange = await b.link.open('hold', {}, SOON);
  const reading = (async () => {
    await gate.promise;
    for await (const bytes of exchange.incoming) received += bytes.length;
  })();
  const other = await served;
  const sending = other.send(new Uint8Array(size));
  let reportedMs = clock.monotonicMs();
  hurry(10);
  // Hurried only once the buffers are full: until then this process is busy filling them.
  const filled = () => a.counts.get('link_bytes_total{out}') ?? 0;
  for (let before = -1; filled() !== before || filled() === 0; await Bun.sleep(20)) {
    before = filled();
    await until(() => clock.monotonicMs() > reportedMs + 2000);
    reportedMs = clock.monotonicMs();
  }
  const started = clock.monotonicMs();
  hurry(50);
  await until(() => clock.monotonicMs() - started > 3 * LANE_DEAD_MS);
  hurry(1);
  gate.resolve();
  await sending;
  await exchange.end();
  await reading;
  expect(received).toBe(size);
});
