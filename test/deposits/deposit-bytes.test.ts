import { afterEach, describe, expect, test } from 'bun:test';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '../../src/core/errors.ts';
import {
  deposit,
  digestOf,
  type Fixture,
  newDepositId,
  openPair,
  rowOf,
  type SiteOptions,
  sample,
  tree,
  until,
  visible,
} from './fixture.ts';

let pair: Fixture | null = null;
const open = async (options: SiteOptions = {}) => {
  pair = await openPair(options);
  return pair;
};
afterEach(async () => {
  await pair?.close();
  pair = null;
});

/** The AppError code that the promise is rejected with. */
async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'resolved';
  } catch (error) {
    return error instanceof AppError ? error.code : `not an AppError: ${String(error)}`;
  }
}

describe('an upload', () => {
  test.each([0, 1, 4096, 65_535, 65_536, 300_000, 4 * 2 ** 20, 9 * 2 ** 20 + 17])(
    'of %i bytes is at both stores, equal, and held',
    async (size) => {
      const { a, b } = await open();
      const content = sample(size);
      const { row, atPeer } = await deposit(a, content);
      expect(atPeer).toBe(true);
      expect(row.sha256).toBe(new Bun.CryptoHasher('sha256').update(content).digest('hex'));
      expect(row.md5).toBe(new Bun.CryptoHasher('md5').update(content).digest('hex'));
      expect(row.chunkSha256.length).toBe(Math.ceil(size / (4 * 2 ** 20)));
      for (const site of [a, b]) {
        expect(await visible(site.root)).toEqual([row.path]);
        expect((await readFile(path.join(site.root, row.path))).equals(content)).toBe(true);
        expect(await site.bytes.ensureHeld(row)).toBe(true);
      }
    },
  );

  test('goes on alone and at once when the peer is not alive', async () => {
    const { a, b, link } = await open({ degradeAfterMs: 60_000 });
    a.alive = false;
    const { row, atPeer } = await deposit(a, sample(200_000));
    expect(atPeer).toBe(false);
    expect(link.opened.size).toBe(0);
    expect(await visible(a.root)).toEqual([row.path]);
    expect(await visible(b.root)).toEqual([]);
  });

  test('goes on alone when the link is cut in mid-body, and the peer keeps no temp', async () => {
    const { a, b, link } = await open();
    const content = sample(3_000_000);
    const upload = await a.bytes.begin({});
    await upload.write(content.subarray(0, 2_000_000));
    link.cut();
    await upload.write(content.subarray(2_000_000));
    const digest = await upload.finish();
    const row = rowOf(digest);
    expect(await upload.publish(row)).toEqual({ atPeer: false });
    upload.committed();
    expect(digest).toEqual(digestOf(content));
    await until(async () => (await visible(b.root)).length === 0, 'the peer removed its temp');
  });

  test('does not wait longer than the deadline for a stalled peer, and only once', async () => {
    const { a, b, link } = await open({ degradeAfterMs: 100 });
    a.start();
    const upload = await a.bytes.begin({});
    await upload.write(sample(100_000));
    link.stall(true);
    const from = performance.now();
    for (let i = 0; i < 20; i += 1) await upload.write(sample(200_000));
    const row = rowOf(await upload.finish());
    expect(await upload.publish(row)).toEqual({ atPeer: false });
    upload.committed();
    expect(performance.now() - from).toBeLessThan(2000);
    expect(a.alarms.list().map((alarm) => alarm.code)).toEqual(['deposit-peer-stalled']);
    // The breaker: the next ones do not even ask.
    const asked = link.opened.get('deposit-put');
    expect((await deposit(a, sample(5000))).atPeer).toBe(false);
    expect(link.opened.get('deposit-put')).toBe(asked as number);
    link.stall(false);
    await until(() => a.alarms.list().length === 0, 'a probe passed');
    expect((await deposit(a, sample(5000))).atPeer).toBe(true);
    await until(
      async () => !(await visible(b.root)).some((name) => name.startsWith('.twinsite/')),
      'no temp at the peer',
    );
  });

  test('lets a slow peer that moves set the pace', async () => {
    const { a, link } = await open({ degradeAfterMs: 300 });
    link.slow(20);
    const from = performance.now();
    const { atPeer } = await deposit(a, sample(4_000_000));
    expect(atPeer).toBe(true);
    expect(performance.now() - from).toBeGreaterThan(600);
  });

  test('discards its temps at both sites, more than once, and when the client goes away', async () => {
    const { a, b } = await open();
    const gone = new AbortController();
    const first = await a.bytes.begin({});
    const second = await a.bytes.begin({ signal: gone.signal });
    await first.write(sample(500_000));
    await second.write(sample(500_000));
    await first.discard();
    await first.discard();
    gone.abort();
    await until(async () => (await visible(a.root)).length === 0, 'temps here are gone');
    await until(async () => (await visible(b.root)).length === 0, 'temps there are gone');
    expect(await codeOf(second.write(sample(1)))).toBe('body-incomplete');
    expect(await codeOf(second.finish())).toBe('body-incomplete');
    expect(await codeOf(first.finish())).toBe('internal');
  });

  test('is refused before a byte is written when the floor would be crossed', async () => {
    const { a } = await open({ minFreeRatio: 1 });
    expect(await codeOf(a.bytes.begin({}))).toBe('storage');
    expect(await visible(a.root)).toEqual([]);
  });

  test('is refused before a byte is written when the announced length does not fit', async () => {
    const { b } = await open();
    expect(await codeOf(b.bytes.begin({ expectedBytes: 2 ** 52 }))).toBe('storage');
    expect(await visible(b.root)).toEqual([]);
  });

  test('refuses a path that is not the one of its ids and name', async () => {
    const { a, b } = await open();
    for (const hostile of ['../../x', 'deposits/x', '/etc/x', '.twinsite/store.json']) {
      const upload = await a.bytes.begin({});
      await upload.write(sample(10));
      const row = { ...rowOf(await upload.finish()), path: hostile };
      expect(await codeOf(upload.publish(row))).toBe('bad-request');
      expect(await codeOf(a.bytes.ensureHeld(row))).toBe('bad-request');
      expect(await codeOf(a.bytes.read(row, null, AbortSignal.timeout(1000)))).toBe('bad-request');
    }
    expect(await visible(a.root)).toEqual([]);
    await until(async () => (await visible(b.root)).length === 0, 'nothing at the peer');
  });

  test('refuses a row that is not of its bytes', async () => {
    const { a } = await open();
    const upload = await a.bytes.begin({});
    await upload.write(sample(10));
    await upload.finish();
    expect(await codeOf(upload.publish(rowOf(digestOf(sample(11)))))).toBe('internal');
    expect(await visible(a.root)).toEqual([]);
  });
});

describe('two requests with one id', () => {
  test('at one site at once: one file, both succeed, and a discard takes nothing away', async () => {
    const { a, b } = await open();
    const id = newDepositId();
    const content = sample(100_000);
    const uploads = await Promise.all([1, 2, 3, 4].map(() => a.bytes.begin({})));
    for (const upload of uploads) await upload.write(content);
    const digests = await Promise.all(uploads.map((upload) => upload.finish()));
    const row = rowOf(digests[0] as (typeof digests)[0], 'x', id);
    await Promise.all(uploads.map((upload) => upload.publish(row)));
    await Promise.all(uploads.slice(1).map((upload) => upload.discard()));
    a.needs.commit(row);
    uploads[0]?.committed();
    for (const site of [a, b]) {
      expect(await visible(site.root)).toEqual([row.path]);
      expect(await site.bytes.ensureHeld(row)).toBe(true);
    }
  });

  test('at both sites at once: one file at each', async () => {
    const { a, b } = await open();
    const id = newDepositId();
    const content = sample(100_000);
    const [one, two] = await Promise.all([
      deposit(a, content, { id }),
      deposit(b, content, { id }),
    ]);
    expect(one.row).toEqual(two.row);
    expect([one.atPeer, two.atPeer]).toEqual([true, true]);
    for (const site of [a, b]) expect(await visible(site.root)).toEqual([one.row.path]);
  });

  test('other content at the path is a conflict, and stays', async () => {
    const { a } = await open();
    const content = sample(1000);
    const { row } = await deposit(a, content);
    await writeFile(path.join(a.root, row.path), 'something else');
    const upload = await a.bytes.begin({});
    await upload.write(content);
    await upload.finish();
    expect(await codeOf(upload.publish(row))).toBe('conflict');
    expect(a.alarms.list().map((alarm) => alarm.code)).toContain('deposit-path-conflict');
    expect(await readFile(path.join(a.root, row.path), 'utf8')).toBe('something else');
    expect(await visible(a.root)).toEqual([row.path]);
  });
});

describe('the healer', () => {
  test('pulls what rows promise, and adopts what is there already', async () => {
    const { a, b } = await open();
    b.start();
    a.alive = false;
    const contents = [0, 1, 5000, 9 * 2 ** 20].map((size) => sample(size, size));
    const rows = [];
    for (const content of contents) rows.push((await deposit(a, content)).row);
    a.alive = true;
    const both = await deposit(a, sample(77));
    for (const row of [...rows, both.row]) b.needs.arrive(row);
    await until(() => b.needs.needed.size === 0, 'all is held');
    for (const row of rows) expect(await b.bytes.ensureHeld(row)).toBe(true);
    expect(await tree(path.join(b.root, 'deposits'))).toEqual(
      await tree(path.join(a.root, 'deposits')),
    );
    expect(await visible(b.root)).toEqual([...rows, both.row].map((row) => row.path).sort());
    expect(b.bytes.rowsWithoutBytes()).toBe(0);
  });

  test('waits for an absent peer and resumes a cut pull at the chunk', async () => {
    const { a, b, link } = await open();
    a.alive = false;
    const content = sample(14 * 2 ** 20);
    const { row } = await deposit(a, content);
    b.start();
    link.slow(2);
    b.needs.arrive(row);
    const partial = async () => {
      const temps = [...(await tree(b.root)).entries()].filter(([name]) =>
        name.endsWith('.deposit'),
      );
      return temps[0]?.[1].length ?? 0;
    };
    await until(async () => (await partial()) > 8 * 2 ** 20, 'half of it is there');
    b.alive = false;
    link.cut();
    await until(async () => (await partial()) === 8 * 2 ** 20, 'cut back to whole chunks');
    expect(b.bytes.rowsWithoutBytes()).toBe(1);
    link.mend();
    link.slow(0);
    b.alive = true;
    await until(() => b.needs.needed.size === 0, 'held');
    expect((await readFile(path.join(b.root, row.path))).equals(content)).toBe(true);
    expect(await visible(b.root)).toEqual([row.path]);
  });

  test('mends a flipped bit from the peer and keeps the wrong bytes in the trash', async () => {
    const { a, b } = await open();
    const content = sample(5 * 2 ** 20);
    const { row } = await deposit(a, content);
    const rotten = content.slice();
    rotten[4_500_000] = (rotten[4_500_000] as number) ^ 1;
    await writeFile(path.join(a.root, row.path), rotten);
    expect(await a.bytes.ensureHeld(row)).toBe(false);
    a.start();
    await until(() => a.bytes.ensureHeld(row), 'healed');
    expect((await readFile(path.join(a.root, row.path))).equals(content)).toBe(true);
    const trash = await tree(path.join(a.root, '.twinsite/trash'));
    expect([...trash.values()].map((bytes) => bytes.equals(rotten))).toEqual([true]);
    expect(await b.bytes.ensureHeld(row)).toBe(true);
  });

  test('never takes wrong bytes from the peer', async () => {
    const { a, b } = await open();
    const { row } = await deposit(a, sample(1000));
    await writeFile(path.join(a.root, row.path), sample(1000, 2));
    await rm(path.join(b.root, row.path));
    b.start();
    b.needs.arrive(row);
    await until(() => b.needs.failures.length > 0, 'failed');
    expect(await visible(b.root)).toEqual([]);
    expect(b.needs.failures[0]).toContain('damaged');
  });
});
