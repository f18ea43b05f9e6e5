import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { AppError } from '../../src/core/errors.ts';
import type { Clock, Exchange } from '../../src/core/ports.ts';
import {
  MAX_BULK_LANES,
  MAX_RPC_BYTES,
  MAX_WAITING_OPENERS,
  RECEIVE_BUFFER_BYTES,
} from '../../src/link/limits.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { newPair, type RunningLink, readAll, startPair, type TwoIdentities } from './link-pair.ts';

// Generous: only a broken link takes this long.
setDefaultTimeout(30_000);
const SOON = { timeoutMs: 20_000 };
const identities: TwoIdentities = await newPair();
const CONTROLLED_MS = 777_777;
let expire: Promise<void> = Promise.resolve();
const clock: Clock = {
  ...systemClock,
  sleep: (ms, signal) => (ms === CONTROLLED_MS ? expire : systemClock.sleep(ms, signal)),
};
let a: RunningLink;
let b: RunningLink;
let stop: () => Promise<void>;
beforeEach(async () => {
  ({ a, b, stop } = await startPair(identities, { clock }));
});
afterEach(async () => {
  await stop();
});

const rejection = async (work: Promise<unknown>): Promise<AppError> => {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof AppError) return error;
  throw new Error(`expected an AppError, got ${String(error)}`);
};
const dialed = (link: RunningLink) => link.counts.get('link_connections_total{outbound,ok}') ?? 0;
const bytesOf = (count: number, seed = 1) => {
  const bytes = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) bytes[index] = (index * 31 + seed) & 255;
  return bytes;
};
const never = () => new Promise<void>(() => undefined);
const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

describe('requests', () => {
  test('a question is answered, in both directions, over one connection each', async () => {
    a.link.answer('double', async (body) => (body as number) * 2);
    b.link.answer('double', async (body) => (body as number) * 3);
    for (let round = 1; round <= 20; round += 1) {
      expect(await a.link.request('double', round, SOON)).toBe(round * 3);
      expect(await b.link.request('double', round, SOON)).toBe(round * 2);
    }
    expect([dialed(a), dialed(b)]).toEqual([1, 1]);
    expect(a.peerVersion()).toBe('dev');
    expect([a.lastFailure(), b.lastFailure()]).toEqual([null, null]);
    expect(a.link.lastHeardMs()).toBeGreaterThan(0);
  });

  test('a body of undefined arrives as null, and so does an answer', async () => {
    let got: unknown = 1;
    b.link.answer('nothing', async (body) => {
      got = body;
      return undefined;
    });
    expect(await a.link.request('nothing', undefined, SOON)).toBeNull();
    expect(got).toBeNull();
  });

  test('100 at once are all answered, on a bounded number of connections', async () => {
    b.link.answer('slow', async (body) => {
      await Bun.sleep(5);
      return body;
    });
    const asked = Array.from({ length: 100 }, (_, index) => index);
    expect(await Promise.all(asked.map((index) => a.link.request('slow', index, SOON)))).toEqual(
      asked,
    );
    expect(dialed(a)).toBeLessThanOrEqual(48);
  });

  test('an AppError travels with code, text and delay; anything else says nothing of itself', async () => {
    b.link.answer('quota', async () => {
      throw new AppError('storage', 'The disk is full.', { retryAfterSeconds: 7 });
    });
    b.link.answer('fatal', async () => {
      throw new AppError('store-foreign', 'Another store.');
    });
    b.link.answer('broken', async () => {
      throw new TypeError('secret detail');
    });
    const storage = await rejection(a.link.request('quota', {}, SOON));
    expect(storage).toMatchObject({
      code: 'storage',
      message: 'The disk is full.',
      retryAfterSeconds: 7,
    });
    expect(await rejection(a.link.request('fatal', {}, SOON))).toMatchObject({
      code: 'store-foreign',
      kind: 'permanent',
    });
    const internal = await rejection(a.link.request('broken', {}, SOON));
    expect(internal.code).toBe('internal');
    expect(internal.message).not.toContain('secret');
    expect(b.told.some((line) => line.event === 'link.answer-failed')).toBe(true);
    expect((await rejection(a.link.request('unknown', {}, SOON))).code).toBe('not-found');
    // Errors are answers: the connection was used for all of them.
    expect(dialed(a)).toBe(1);
  });

  test('a late answer is a timeout, and the answering side is told to stop', async () => {
    const entered = Promise.withResolvers<void>();
    const stopped = Promise.withResolvers<void>();
    b.link.answer('hang', async (_body, signal) => {
      entered.resolve();
      await untilAborted(signal);
      stopped.resolve();
    });
    // The deadline strikes when the test says so.
    const strike = Promise.withResolvers<void>();
    expire = strike.promise;
    const asked = rejection(a.link.request('hang', {}, { timeoutMs: CONTROLLED_MS }));
    await entered.promise;
    strike.resolve();
    expect((await asked).code).toBe('peer-timeout');
    await stopped.promise;
  });

  test('the caller’s signal ends a request', async () => {
    b.link.answer('hang', never);
    const controller = new AbortController();
    const asked = rejection(a.link.request('hang', {}, { ...SOON, signal: controller.signal }));
    controller.abort();
    expect((await asked).code).toBe('peer-timeout');
    const early = await rejection(
      a.link.request('hang', {}, { ...SOON, signal: controller.signal }),
    );
    expect(early.code).toBe('peer-timeout');
  });

  test('large bodies pass up to the limit and not beyond', async () => {
    b.link.answer('size', async (body) => (body as string).length);
    b.link.answer('huge', async () => 'x'.repeat(MAX_RPC_BYTES));
    expect(await a.link.request('size', 'x'.repeat(MAX_RPC_BYTES - 2), SOON)).toBe(
      MAX_RPC_BYTES - 2,
    );
    const large = 'x'.repeat(MAX_RPC_BYTES);
    expect((await rejection(a.link.request('size', large, SOON))).code).toBe('too-large');
    expect((await rejection(a.link.request('huge', null, SOON))).code).toBe('too-large');
  });
});

describe('exchanges', () => {
  test('a purpose that nobody serves is refused, and the connection lives on', async () => {
    const error = await rejection(a.link.open('nothing', {}, SOON));
    expect(error).toMatchObject({ code: 'peer-refused' });
    expect(error.message).toContain('unknown-purpose');
    expect((await rejection(a.link.open('nothing', {}, SOON))).code).toBe('peer-refused');
    expect(dialed(a)).toBe(1);
  });

  test('each direction has its own end', async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    b.link.serve('talk', async (exchange) => {
      expect(exchange.header).toEqual({ n: 1 });
      await exchange.send(Buffer.from('first'));
      await exchange.end();
      // After our own end the opener may go on.
      resolve((await readAll(exchange.incoming)).toString());
    });
    const exchange = await a.link.open('talk', { n: 1 }, SOON);
    expect((await readAll(exchange.incoming)).toString()).toBe('first');
    await exchange.send(Buffer.from('later'));
    await exchange.end();
    await exchange.closed;
    expect(await promise).toBe('later');
    exchange.abort('too late, and harmless');
    b.link.answer('ok', async () => true);
    expect(await a.link.request('ok', {}, SOON)).toBe(true);
    expect(dialed(a)).toBe(1);
  });

  test('64 MiB both ways at once with a slow reader: exact bytes, bounded buffers', async () => {
    const size = 64 * 1024 * 1024;
    const block = bytesOf(1024 * 1024);
    b.link.serve('mirror', async (exchange) => {
      for await (const bytes of exchange.incoming) await exchange.send(bytes);
      await exchange.end();
    });
    const exchange = await a.link.open('mirror', {}, SOON);
    let sent = 0;
    let received = 0;
    let ahead = 0;
    const sending = (async () => {
      for (; sent < size; sent += block.length) await exchange.send(block);
      await exchange.end();
    })();
    const hash = createHash('sha256');
    let turns = 0;
    for await (const bytes of exchange.incoming) {
      hash.update(bytes);
      received += bytes.length;
      turns += 1;
      if (turns % 100 === 0) await Bun.sleep(1);
      ahead = Math.max(ahead, sent - received);
    }
    await sending;
    const expected = createHash('sha256');
    for (let done = 0; done < size; done += block.length) expected.update(block);
    expect(received).toBe(size);
    expect(hash.digest('hex')).toBe(expected.digest('hex'));
    // Our buffers twice, and what four kernel sockets hold.
    expect(ahead).toBeLessThan(2 * RECEIVE_BUFFER_BYTES + 40 * 1024 * 1024);
  });

  test('a reader that does not read stops the sender', async () => {
    const gate = Promise.withResolvers<void>();
    let received = 0;
    b.link.serve('gate', async (exchange) => {
      await gate.promise;
      for await (const bytes of exchange.incoming) received += bytes.length;
      await exchange.end();
    });
    const exchange = await a.link.open('gate', {}, SOON);
    const block = new Uint8Array(1024 * 1024);
    let sent = 0;
    const sending = (async () => {
      for (let count = 0; count < 100; count += 1) {
        await exchange.send(block);
        sent += 1;
      }
      await exchange.end();
    })();
    // Stalled: nothing more went out while other exchanges ran to their end.
    b.link.answer('ok', async () => true);
    for (let before = -1; sent !== before || sent === 0; await Bun.sleep(50)) before = sent;
    for (let round = 0; round < 20; round += 1) await a.link.request('ok', {}, SOON);
    expect(sent).toBeLessThan(40);
    gate.resolve();
    await sending;
    expect((await readAll(exchange.incoming)).length).toBe(0);
    expect(received).toBe(100 * block.length);
  });

  test('concurrent senders do not mix their bytes', async () => {
    b.link.serve('collect', async (exchange) => {
      const all = await readAll(exchange.incoming);
      await exchange.send(all);
      await exchange.end();
    });
    const exchange = await a.link.open('collect', {}, SOON);
    const parts = [1, 2, 3, 4].map((seed) => new Uint8Array(600 * 1024).fill(seed));
    const sends = parts.map((part) => exchange.send(part));
    const ended = exchange.end();
    await Promise.all([...sends, ended]);
    expect(Buffer.compare(await readAll(exchange.incoming), Buffer.concat(parts))).toBe(0);
    expect((await rejection(exchange.send(new Uint8Array(1)))).code).toBe('internal');
  });

  test('what a handler leaves unread is thrown away, and the connection used again', async () => {
    b.link.serve('deaf', async (exchange) => {
      await exchange.send(Buffer.from('answer'));
      await exchange.end();
    });
    for (let round = 0; round < 3; round += 1) {
      const exchange = await a.link.open('deaf', {}, SOON);
      await exchange.send(bytesOf(100_000));
      expect((await readAll(exchange.incoming)).toString()).toBe('answer');
      await exchange.end();
      await exchange.closed;
    }
    expect(dialed(a)).toBe(1);
  });
});

describe('trouble', () => {
  const serveHeld = (purpose: string) => {
    const held = Promise.withResolvers<{ exchange: Exchange; signal: AbortSignal }>();
    const failed = Promise.withResolvers<unknown>();
    b.link.serve(purpose, async (exchange, signal) => {
      held.resolve({ exchange, signal });
      try {
        await readAll(exchange.incoming);
      } catch (error) {
        failed.resolve(error);
        throw error;
      }
    });
    return { held: held.promise, failed: failed.promise };
  };

  test('the opener’s abort reaches the handler', async () => {
    const { held, failed } = serveHeld('work');
    const exchange = await a.link.open('work', {}, SOON);
    const { signal } = await held;
    exchange.abort('changed my mind');
    exchange.abort('twice');
    const error = await failed;
    expect(error).toMatchObject({ code: 'peer-refused' });
    expect((error as Error).message).toContain('changed my mind');
    expect(signal.aborted).toBe(true);
    await exchange.closed;
    expect((await rejection(exchange.send(new Uint8Array(1)))).code).toBe('peer-unreachable');
    expect((await rejection(readAll(exchange.incoming))).code).toBe('peer-unreachable');
  });

  test('the handler’s abort reaches the opener, also while it is sending', async () => {
    const { held } = serveHeld('work');
    const exchange = await a.link.open('work', {}, SOON);
    (await held).exchange.abort('no room');
    const error = await rejection(readAll(exchange.incoming));
    expect(error.code).toBe('peer-refused');
    expect(error.message).toContain('no room');
    await exchange.closed;
  });

  test('an abort reaches a sender that is held back', async () => {
    const opened = Promise.withResolvers<Exchange>();
    b.link.serve('stuck', async (exchange, signal) => {
      opened.resolve(exchange);
      await untilAborted(signal);
    });
    const exchange = await a.link.open('stuck', {}, SOON);
    const sending = rejection(exchange.send(new Uint8Array(64 * 1024 * 1024)));
    const other = await opened.promise;
    await Bun.sleep(20);
    other.abort('enough');
    expect(['peer-refused', 'peer-unreachable']).toContain((await sending).code);
  });

  test('a failing handler breaks the exchange with its reason, or without it when it is no AppError', async () => {
    b.link.serve('full', async () => {
      throw new AppError('storage', 'The disk is full.');
    });
    b.link.serve('bug', async () => {
      throw new Error('secret detail');
    });
    b.link.serve('lazy', async () => undefined);
    const failure = async (purpose: string) => {
      const exchange = await a.link.open(purpose, {}, SOON).catch((error: unknown) => error);
      if (exchange instanceof AppError) return exchange.message;
      return (await rejection(readAll((exchange as Exchange).incoming))).message;
    };
    expect(await failure('full')).toContain('The disk is full.');
    const bug = await failure('bug');
    expect(bug).toContain('internal error');
    expect(bug).not.toContain('secret');
    expect(await failure('lazy')).toContain('without an end');
    const told = b.told.filter((line) => line.event === 'link.handler-failed');
    expect(told.map((line) => line.level)).toEqual(['info', 'error']);
  });

  test('the peer is killed in the middle: both ends see it at once, and the next open fails fast', async () => {
    const { held } = serveHeld('work');
    const exchange = await a.link.open('work', {}, SOON);
    await held;
    const reading = rejection(readAll(exchange.incoming));
    const stopping = b.stop();
    expect((await reading).code).toBe('peer-unreachable');
    await stopping;
    await exchange.closed;
    const first = await rejection(a.link.request('any', {}, SOON));
    expect(first.code).toBe('peer-unreachable');
    const started = performance.now();
    const again = await rejection(a.link.request('any', {}, SOON));
    expect(again.message).toBe(first.message);
    expect(performance.now() - started).toBeLessThan(20);
    expect(a.lastFailure()).toContain('connection refused');
  });

  test('bulk transfers leave room for questions; waiting is bounded by deadline and number', async () => {
    b.link.serve('deposit-get', async (exchange, signal) => {
      if (exchange.header !== 'brief') await untilAborted(signal);
      await exchange.end();
    });
    b.link.answer('ok', async () => true);
    const held = await Promise.all(
      Array.from({ length: MAX_BULK_LANES }, () => a.link.open('deposit-get', {}, SOON)),
    );
    const late = await rejection(a.link.open('deposit-get', {}, { timeoutMs: 30 }));
    expect(late.code).toBe('peer-timeout');
    expect(await a.link.request('ok', {}, SOON)).toBe(true);
    const waiting = Array.from({ length: MAX_WAITING_OPENERS }, () =>
      rejection(a.link.open('deposit-get', {}, { timeoutMs: 300 })),
    );
    const refused = await rejection(a.link.open('deposit-get', {}, { timeoutMs: 60_000 }));
    expect(refused.code).toBe('peer-unreachable');
    expect((await Promise.all(waiting)).every((error) => error.code === 'peer-timeout')).toBe(true);
    // A place that becomes free is given on.
    const next = a.link.open('deposit-get', 'brief', SOON);
    held[0]?.abort('done');
    expect((await readAll((await next).incoming)).length).toBe(0);
    for (const exchange of held) exchange.abort('done');
  });
});

test('two handlers of one name are a mistake', () => {
  a.link.answer('m', never);
  expect(() => a.link.answer('m', never)).toThrow('two handlers');
  a.link.serve('p', never);
  expect(() => a.link.serve('p', never)).toThrow('two handlers');
});
