import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Failpoint } from '../../src/engine/files/deposits/context.ts';
import {
  collect,
  deposit,
  errorOf,
  type Fixture,
  openPair,
  openSite,
  rowOf,
  sample,
  tree,
  until,
  visible,
} from './fixture.ts';

const STEPS: readonly Failpoint[] = [
  'temp-written',
  'temp-synced',
  'journal-written',
  'directories-made',
  'renamed',
  'directories-synced',
  'published',
];

describe('killed', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(path.join(os.tmpdir(), 'twinsite-killed-'));
    await mkdir(path.join(directory, 'data'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const killedAt = async (step: string) => {
    const child = Bun.spawn(
      [process.execPath, path.join(import.meta.dir, 'killed-child.ts'), directory, step],
      { stdout: 'pipe', stderr: 'inherit' },
    );
    const out = await new Response(child.stdout).text();
    await child.exited;
    return { row: out === '' ? null : JSON.parse(out), signal: child.signalCode };
  };

  test.each([...STEPS])('at %s: after the restart nothing is visible', async (step) => {
    const { signal } = await killedAt(step);
    expect(signal).toBe('SIGKILL');
    const site = await openSite(path.join(directory, 'store'), path.join(directory, 'data'), null);
    site.start();
    await until(async () => (await visible(site.root)).length === 0, 'nothing visible');
    // A file that was whole is kept aside, for it might be wanted.
    const kept = [...(await tree(path.join(site.root, '.twinsite/trash'))).values()];
    const placed = STEPS.indexOf(step) >= STEPS.indexOf('renamed');
    expect(kept.map((bytes) => bytes.length)).toEqual(placed ? [100_000] : []);
    await until(
      async () => (await readFile(path.join(site.data, 'intake.journal'))).length >= 0,
      '',
    );
    await site.stop();
    await site.store.close();
  });

  test('after the commit: the deposit is complete', async () => {
    const { row, signal } = await killedAt('committed');
    expect(signal).toBe('SIGKILL');
    const site = await openSite(path.join(directory, 'store'), path.join(directory, 'data'), null);
    site.needs.commit(row);
    site.start();
    expect(await site.bytes.ensureHeld(row)).toBe(true);
    expect(await visible(site.root)).toEqual([row.path]);
    await site.stop();
    await site.store.close();
  });
});

describe('unfinished intake', () => {
  let pair: Fixture;
  afterEach(() => pair.close());

  /** Published at both, never committed: the origin's request died there. */
  const unfinished = async (site: 'a' | 'b' = 'a') => {
    const upload = await pair[site].bytes.begin({});
    await upload.write(sample(5000));
    const row = rowOf(await upload.finish());
    await upload.publish(row);
    return { upload, row };
  };

  test('is left alone while its upload runs, then goes to the trash at both sites', async () => {
    pair = await openPair();
    pair.a.start();
    pair.b.start();
    const { upload, row } = await unfinished();
    await Bun.sleep(100);
    for (const site of [pair.a, pair.b]) expect(await visible(site.root)).toEqual([row.path]);
    await upload.discard();
    for (const site of [pair.a, pair.b]) {
      await until(async () => (await visible(site.root)).length === 0, 'trashed');
      expect((await tree(path.join(site.root, '.twinsite/trash'))).size).toBe(1);
    }
  });

  test('stays while the database is down, and when the row turns up', async () => {
    pair = await openPair();
    pair.a.needs.down = new Error('no database');
    pair.b.alive = false;
    const { upload, row } = await unfinished();
    await upload.discard();
    const service = pair.a.bytes.services[0];
    const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
    const { systemClock } = await import('../../src/platform/clock.ts');
    const signal = AbortSignal.timeout(5000);
    const run = service?.run({ signal, clock: systemClock, log, ready: () => undefined });
    expect(String(await errorOf(run))).toMatch('no database');
    expect(await visible(pair.a.root)).toEqual([row.path]);
    pair.a.needs.down = null;
    pair.a.needs.commit(row);
    pair.a.start();
    await until(
      async () =>
        (await readFile(path.join(pair.a.data, 'intake.journal'), 'utf8')).includes('committed'),
      'claimed',
    );
    expect(await visible(pair.a.root)).toEqual([row.path]);
  });

  test('at the peer stays while the origin cannot be asked, or has the row', async () => {
    pair = await openPair();
    pair.b.alive = false;
    pair.b.start();
    const { upload, row } = await unfinished();
    await upload.discard();
    await Bun.sleep(100);
    expect(await visible(pair.b.root)).toEqual([row.path]);
    pair.a.needs.commit(row);
    pair.b.alive = true;
    await Bun.sleep(100);
    expect(await visible(pair.b.root)).toEqual([row.path]);
    pair.b.needs.arrive(row);
    await until(() => pair.b.needs.needed.size === 0, 'held');
    expect(await pair.b.bytes.ensureHeld(row)).toBe(true);
  });

  test('in the trash is found again when the row comes after all', async () => {
    pair = await openPair();
    pair.a.start();
    pair.b.start();
    const { upload, row } = await unfinished();
    await upload.discard();
    for (const site of [pair.a, pair.b])
      await until(async () => (await visible(site.root)).length === 0, 'trashed');
    pair.a.alive = false;
    pair.a.needs.arrive(row);
    await until(() => pair.a.needs.needed.size === 0, 'held');
    expect(await visible(pair.a.root)).toEqual([row.path]);
    const got = await collect(await pair.a.bytes.read(row, null, AbortSignal.timeout(1000)));
    expect(Buffer.compare(got, sample(5000))).toBe(0);
  });

  test('never removes what the journal does not name, and counts it', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, sample(10));
    const strays = [
      'deposits/papers/ab/0192f5a0-0000-7000-8000-0000000000ab/x/y.pdf',
      'deposits/readme.txt',
      'deposits/old/stuff/file',
    ];
    for (const stray of strays) {
      await mkdir(path.dirname(path.join(pair.a.root, stray)), { recursive: true });
      await writeFile(path.join(pair.a.root, stray), 'foreign');
    }
    await writeFile(path.join(pair.a.root, '.twinsite/tmp/somebody.else'), 'x');
    await writeFile(
      path.join(pair.a.root, '.twinsite/tmp/00112233aabb-0011223344556677.deposit'),
      'x',
    );
    pair.a.start();
    await until(() => pair.a.bytes.unclaimed() === 3, 'counted');
    expect(await visible(pair.a.root)).toEqual(
      [...strays, row.path, '.twinsite/tmp/somebody.else'].sort(),
    );
  });

  test('content that lay on the path before is never judged as this request\u2019s', async () => {
    pair = await openPair();
    pair.a.start();
    pair.a.alive = false;
    const lying = [sample(5000), sample(4000, 2)];
    for (const content of lying) {
      const upload = await pair.a.bytes.begin({});
      await upload.write(lying[0] as Uint8Array);
      const row = rowOf(await upload.finish());
      const file = path.join(pair.a.root, row.path);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, content);
      await upload.publish(row).catch(() => undefined);
      await upload.discard();
      pair.a.alive = true;
      await Bun.sleep(100);
      expect(Buffer.compare(await readFile(file), content)).toBe(0);
    }
  });

  test('a hostile or torn journal moves nothing', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, sample(10));
    const line = (over: object) =>
      JSON.stringify({
        did: 'publish',
        role: 'origin',
        deposit: row.depositId,
        file: row.id,
        name: row.name,
        path: row.path,
        bytes: 10,
        sha256: row.sha256,
        ...over,
      });
    const data = path.join(pair.directory, 'data-c');
    await mkdir(data);
    const lines = [
      line({ path: '../../etc/passwd' }),
      line({ path: '.twinsite/store.json' }),
      line({ deposit: 'x' }),
      '{"did":"publish"',
      'null',
      '',
    ];
    await writeFile(path.join(data, 'intake.journal'), lines.join('\n'));
    const site = await openSite(pair.a.root, data, null);
    site.start();
    await until(
      async () => (await readFile(path.join(data, 'intake.journal'))).length === 0,
      'compacted',
    );
    await Bun.sleep(60);
    expect(await visible(pair.a.root)).toEqual([row.path]);
    await site.stop();
    await site.store.close();
  });
});

describe('a store that vanished', () => {
  let pair: Fixture;
  afterEach(() => pair.close());

  test('refuses to begin, to publish and to vouch', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, sample(10));
    const upload = await pair.a.bytes.begin({});
    await upload.write(sample(20));
    const next = rowOf(await upload.finish());
    await rename(pair.a.root, `${pair.a.root}-away`);
    await mkdir(pair.a.root);
    const refused = { code: 'store-failed' };
    expect(await errorOf(upload.publish(next))).toMatchObject(refused);
    expect(await errorOf(pair.a.bytes.begin({}))).toMatchObject(refused);
    expect(await pair.a.bytes.ensureHeld(row)).toBe(false);
    expect(await visible(pair.a.root)).toEqual([]);
  });
});
