import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import type { DepositFileRow } from '../../src/core/deposit.ts';
import { AppError } from '../../src/core/errors.ts';
import {
  CHUNK_BYTES,
  collect,
  deposit,
  errorOf,
  type Fixture,
  openPair,
  sample,
  type TestSite,
  until,
} from './fixture.ts';

const never = () => new AbortController().signal;
const SIZE = 2 * CHUNK_BYTES + 12_345;
const content = sample(SIZE);
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

async function flip(site: TestSite, row: DepositFileRow, at: number): Promise<void> {
  const file = path.join(site.root, row.path);
  const bytes = await readFile(file);
  bytes[at] = (bytes[at] as number) ^ 0x10;
  await writeFile(file, bytes);
}

/** What was read before it failed, and why. */
async function readUntilError(site: TestSite, row: DepositFileRow) {
  const parts: Uint8Array[] = [];
  try {
    for await (const part of await site.bytes.read(row, null, never())) parts.push(part);
    return { bytes: Buffer.concat(parts), error: null };
  } catch (error) {
    return { bytes: Buffer.concat(parts), error: error instanceof AppError ? error : null };
  }
}

describe('ranges', () => {
  let pair: Fixture;
  let row: DepositFileRow;
  beforeAll(async () => {
    pair = await openPair();
    row = (await deposit(pair.a, content)).row;
  });
  afterAll(() => pair.close());

  const border = fc.oneof(
    fc.nat(SIZE - 1),
    fc
      .tuple(
        fc.constantFrom(0, 256 * 1024, CHUNK_BYTES, 2 * CHUNK_BYTES, SIZE - 1),
        fc.integer({ min: -2, max: 2 }),
      )
      .map(([at, by]) => Math.max(0, Math.min(SIZE - 1, at + by))),
  );
  test('give exactly the bytes asked for, here and from the peer', async () => {
    await rm(path.join(pair.b.root, row.path));
    await fc.assert(
      fc.asyncProperty(border, border, fc.boolean(), async (x, y, here) => {
        const [start, end] = x < y ? [x, y] : [y, x];
        const site = here ? pair.a : pair.b;
        const got = await collect(await site.bytes.read(row, { start, end }, never()));
        expect(same(got, content.subarray(start, end + 1))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test.each([{ start: 0, end: SIZE * 2 }, { start: SIZE - 1, end: SIZE - 1 }, null])(
    '%j',
    async (range) => {
      const got = await collect(await pair.a.bytes.read(row, range, never()));
      expect(same(got, content.subarray(range?.start ?? 0))).toBe(true);
    },
  );

  test.each([
    { start: SIZE, end: SIZE },
    { start: 5, end: 4 },
    { start: -1, end: 4 },
  ])('%j cannot be satisfied', async (range) => {
    const read = pair.a.bytes.read(row, range, never());
    expect(await errorOf(read)).toMatchObject({ code: 'range-not-satisfiable' });
  });
});

describe('a damaged or missing copy', () => {
  let pair: Fixture;
  afterEach(() => pair.close());

  test.each([
    ['first chunk', 5],
    ['first byte of the second chunk', CHUNK_BYTES],
    ['last byte', SIZE - 1],
  ])('flipped bit in the %s: right bytes from the peer, then healed', async (_, at) => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    await flip(pair.a, row, at);
    const got = await collect(await pair.a.bytes.read(row, null, never()));
    expect(same(got, content)).toBe(true);
    pair.a.start();
    await until(() => pair.a.bytes.ensureHeld(row), 'healed');
    expect(same(await readFile(path.join(pair.a.root, row.path)), content)).toBe(true);
  });

  test.each(['missing', 'short', 'directory'])('%s here: from the peer', async (kind) => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    const file = path.join(pair.a.root, row.path);
    if (kind === 'short') await truncate(file, 100);
    else await rm(file);
    if (kind === 'directory') await (await import('node:fs/promises')).mkdir(file);
    const got = await collect(await pair.a.bytes.read(row, null, never()));
    expect(same(got, content)).toBe(true);
    pair.a.start();
    await until(() => pair.a.bytes.ensureHeld(row), 'healed');
  });

  test('different chunks damaged at both: each site gives the right bytes', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    await flip(pair.a, row, 0);
    await flip(pair.b, row, CHUNK_BYTES + 7);
    for (const site of [pair.a, pair.b]) {
      const got = await collect(await site.bytes.read(row, null, never()));
      expect(same(got, content)).toBe(true);
    }
  });

  test('both missing: content-unavailable before the first byte, and it names the sites', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    for (const site of [pair.a, pair.b]) await rm(path.join(site.root, row.path));
    const read = pair.a.bytes.read(row, null, never());
    expect(await errorOf(read)).toMatchObject({
      code: 'content-unavailable',
      retryAfterSeconds: 10,
    });
    expect(String(await errorOf(read))).toMatch(/This site: missing; site b: .*not in this store/);
  });

  test('one chunk bad at both: what was given is right, then the stream breaks', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    for (const site of [pair.a, pair.b]) await flip(site, row, CHUNK_BYTES + 1);
    const { bytes, error } = await readUntilError(pair.a, row);
    expect(error?.code).toBe('content-unavailable');
    expect(bytes.length).toBe(CHUNK_BYTES);
    expect(same(bytes, content.subarray(0, CHUNK_BYTES))).toBe(true);
  });

  test('peer away and damaged here: content-unavailable, no wrong byte', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    await flip(pair.a, row, 3);
    pair.a.alive = false;
    expect(await errorOf(pair.a.bytes.read(row, null, never()))).toMatchObject({
      code: 'content-unavailable',
    });
  });

  test('the link is cut while the peer reads to us: the rest comes from here when it is right', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    await flip(pair.a, row, 3);
    pair.link.slow(3);
    const parts: Uint8Array[] = [];
    for await (const part of await pair.a.bytes.read(row, null, never())) {
      if (parts.push(part) === 1) pair.link.cut();
    }
    expect(same(Buffer.concat(parts), content)).toBe(true);
  });

  test('a reader that goes away leaves no open file', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, content);
    const openFiles = async () => {
      const fs = await import('node:fs/promises');
      const names = await fs.readdir('/proc/self/fd');
      const links = await Promise.all(
        names.map((name) => fs.readlink(`/proc/self/fd/${name}`).catch(() => '')),
      );
      return links.filter((target) => target.endsWith('paper.pdf')).length;
    };
    const gone = new AbortController();
    await pair.a.bytes.read(row, null, gone.signal);
    const stopped = new AbortController();
    for await (const part of await pair.a.bytes.read(row, null, stopped.signal)) {
      expect(part.length).toBeGreaterThan(0);
      break;
    }
    expect(await openFiles()).toBe(1);
    gone.abort();
    await until(async () => (await openFiles()) === 0, 'closed');
  });
});
