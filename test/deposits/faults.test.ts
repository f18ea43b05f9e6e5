import { afterEach, describe, expect, test } from 'bun:test';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { encodeData, encodeMessage, receive } from '../../src/engine/files/deposits/wire.ts';
import {
  deposit,
  errorOf,
  type Fixture,
  openPair,
  openSite,
  rowOf,
  sample,
  type TestSite,
  until,
  visible,
} from './fixture.ts';

const REPORT = z.object({
  code: z.string(),
  atPeer: z.boolean(),
  placed: z.string(),
  directory: z.string(),
  a: z.array(z.string()),
  b: z.array(z.string()),
  doubts: z.object({ a: z.array(z.string()), b: z.array(z.string()) }),
});

const straceWorks = Bun.which('strace') !== null && Bun.spawnSync(['strace', 'true']).success;
const canMount = (() => {
  const probe = Bun.spawnSync([
    'sh',
    '-c',
    'd=$(mktemp -d) && mount -t tmpfs none $d && umount $d; r=$?; rmdir $d; exit $r',
  ]);
  return probe.success;
})();
if (!straceWorks) console.warn('strace does not work here: order and fsync faults are not tested');
if (!canMount)
  console.warn('tmpfs cannot be mounted here: full disk and other device are not tested');

/** Runs the child under strace with more options; gives its report and the calls, in order. */
async function traced(options: readonly string[] = [], base = '') {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'twinsite-traced-'));
  const file = path.join(directory, 'trace');
  try {
    const child = Bun.spawn(
      [
        'strace',
        '-f',
        '-y',
        '-s',
        '300',
        '-o',
        file,
        '-e',
        'trace=fsync,fdatasync,renameat2,rename',
        ...options,
        process.execPath,
        path.join(import.meta.dir, 'traced-child.ts'),
        base,
      ],
      { stdout: 'pipe', stderr: 'inherit' },
    );
    const report = REPORT.parse(JSON.parse(await new Response(child.stdout).text()));
    const lines = (await readFile(file, 'utf8')).split('\n');
    // A call that was interrupted by another thread's line counts where it was finished.
    const begun = new Map<string, string>();
    const calls: string[] = [];
    for (const line of lines) {
      const [pid = '', rest = ''] = line.split(/\s+(.*)/s);
      if (rest.includes('<unfinished ...>')) begun.set(pid, rest.replace('<unfinished ...>', ''));
      else if (rest.startsWith('<...')) calls.push((begun.get(pid) ?? '') + rest);
      else calls.push(rest);
    }
    return { report, calls: calls.map((call) => call.replaceAll(report.directory, '')) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

describe.if(straceWorks)('as the kernel sees it', () => {
  test('at each site: fsync of the file, rename, fsync of every new directory; then the row', async () => {
    const { report, calls } = await traced();
    expect(report).toMatchObject({
      code: 'ok',
      atPeer: true,
      a: [report.placed],
      b: [report.placed],
    });
    const row = calls.findIndex((call) => call.startsWith('fsync') && call.includes('</row>'));
    expect(row).toBeGreaterThan(0);
    for (const store of ['/store-a', '/store-b']) {
      const index = (what: (call: string) => boolean) => {
        const at = calls.findIndex((call) => call.includes(store) && what(call));
        expect(at).toBeGreaterThanOrEqual(0);
        return at;
      };
      const file = index((call) => call.startsWith('fsync') && call.includes('.twinsite/tmp/'));
      // The rename goes through the held handle: its line names no store, but the temp it moved.
      const temp = /tmp\/([0-9a-f-]+\.deposit)/.exec(calls[file] ?? '')?.[1] ?? '?';
      const rename = calls.findIndex(
        (call) =>
          call.startsWith('renameat2') && call.includes(temp) && call.includes('RENAME_NOREPLACE'),
      );
      expect(rename).toBeGreaterThan(file);
      const parts = report.placed.split('/').slice(0, -1);
      for (let depth = 0; depth <= parts.length; depth += 1) {
        const directory = [store, ...parts.slice(0, depth)].join('/');
        const flushed = index(
          (call) => call.startsWith('fsync') && call.includes(`<${directory}>`),
        );
        expect(flushed).toBeGreaterThan(rename);
        expect(flushed).toBeLessThan(row);
      }
    }
  });

  test('a failed fsync of a temp: no file, doubt, and no second try', async () => {
    // strace counts per thread: the first flush of each fails, which is one temp or both.
    const { report, calls } = await traced(['-e', 'inject=fsync:error=EIO:when=1']);
    const failed = calls.filter(
      (call) => call.startsWith('fsync') && call.includes('EIO') && call.includes('.deposit>'),
    );
    expect(failed.length).toBeGreaterThan(0);
    for (const call of failed) {
      const site = call.includes('/store-a') ? 'a' : 'b';
      expect(report.doubts[site].length).toBeGreaterThan(0);
      expect(report[site]).toEqual([]);
      if (site === 'a') expect(report.code).toBe('store-failed');
      else expect(report.atPeer).toBe(false);
      const temp = /<([^>]+\.deposit)>/.exec(call)?.[1] ?? '?';
      expect(calls.filter((one) => one.startsWith('fsync') && one.includes(temp)).length).toBe(1);
    }
  });

  test.each(['a', 'b'] as const)(
    'a failed fsync of a directory at %s: doubt, no `both`',
    async (site) => {
      const base = await mkdtemp(path.join(os.tmpdir(), 'twinsite-flush-'));
      const directory = path.join(base, `store-${site}`, 'deposits');
      const { report } = await traced(['-P', directory, '-e', 'inject=fsync:error=EIO'], base);
      expect(report).toMatchObject({ code: site === 'a' ? 'store-failed' : 'ok', atPeer: false });
      expect(report.doubts[site].length).toBeGreaterThan(0);
      expect(report.doubts[site === 'a' ? 'b' : 'a']).toEqual([]);
    },
  );
});

describe.if(canMount)('on other file systems', () => {
  let directory = '';
  let site: TestSite | null = null;
  const mounted: string[] = [];
  const mount = async (target: string, options: string) => {
    await mkdir(target, { recursive: true });
    expect(Bun.spawnSync(['mount', '-t', 'tmpfs', '-o', options, 'none', target]).success).toBe(
      true,
    );
    mounted.push(target);
  };
  const openAlone = async () => {
    await mkdir(path.join(directory, 'data'), { recursive: true });
    site = await openSite(path.join(directory, 'store'), path.join(directory, 'data'), null);
    return site;
  };
  const begin = async () => {
    directory = await mkdtemp(path.join(os.tmpdir(), 'twinsite-mounted-'));
  };
  afterEach(async () => {
    await site?.store.close();
    site = null;
    for (const target of mounted.splice(0).toReversed()) Bun.spawnSync(['umount', '-l', target]);
    await rm(directory, { recursive: true, force: true });
  });

  test('a disk that gets full: `storage`, and nothing is left', async () => {
    await begin();
    await mount(path.join(directory, 'store'), 'size=6m');
    const { bytes, root } = await openAlone();
    const upload = await bytes.begin({});
    const work = async () => {
      for (let i = 0; i < 40; i += 1) await upload.write(sample(262_144));
      await upload.finish();
    };
    expect(await errorOf(work())).toMatchObject({ code: 'storage' });
    expect(await visible(root)).toEqual([]);
    const next = await deposit(site as TestSite, sample(100_000));
    expect(await visible(root)).toEqual([next.row.path]);
  });

  test('a file system mounted over deposits/: refused, nothing acknowledged', async () => {
    await begin();
    const { root } = await openAlone();
    await mount(path.join(directory, 'store', 'deposits'), 'size=6m');
    expect(await errorOf(deposit(site as TestSite, sample(10)))).toMatchObject({
      code: 'store-failed',
    });
    expect(await visible(root)).toEqual([]);
  });

  test('an empty file system mounted over the store: refused, nothing written to either', async () => {
    await begin();
    const { bytes } = await openAlone();
    const { row } = await deposit(site as TestSite, sample(10));
    const upload = await bytes.begin({});
    await upload.write(sample(20));
    const next = rowOf(await upload.finish());
    const root = path.join(directory, 'store');
    await mount(root, 'size=6m');
    expect(await errorOf(upload.publish(next))).toMatchObject({ code: 'store-failed' });
    expect(await errorOf(bytes.begin({}))).toMatchObject({ code: 'store-failed' });
    expect(await bytes.ensureHeld(row)).toBe(false);
    expect(await visible(root)).toEqual([]);
    Bun.spawnSync(['umount', mounted.pop() ?? '']);
    expect(await bytes.ensureHeld(row)).toBe(true);
    expect(await visible(root)).toEqual([row.path]);
  });
});

describe('a hostile or broken peer', () => {
  let pair: Fixture;
  afterEach(() => pair.close());
  const options = { timeoutMs: 1000 };

  /** Says the records to b as its peer and gives what b answers. */
  const say = async (purpose: string, header: unknown, records: readonly Uint8Array[]) => {
    const exchange = await pair.link.a.open(purpose, header, options);
    const answers: unknown[] = [];
    const read = async () => {
      for await (const record of receive(exchange))
        if (record.kind === 'message') answers.push(record.value);
    };
    const reading = read().catch(() => undefined);
    for (const record of records) await exchange.send(record).catch(() => undefined);
    await exchange.end();
    await reading;
    return JSON.stringify(answers);
  };

  test('cannot place a file anywhere but on the path of its ids and name', async () => {
    pair = await openPair();
    const bytes = sample(10);
    const row = rowOf({
      sizeBytes: 10,
      md5: '0'.repeat(32),
      chunkSha256: [],
      sha256: new Bun.CryptoHasher('sha256').update(bytes).digest('hex'),
    });
    const { id, depositId, name, path: right, sizeBytes, sha256 } = row;
    const file = { id, depositId, name, path: right, sizeBytes, sha256 };
    const wrong = [
      { ...file, path: '../../evil' },
      { ...file, path: '/tmp/evil' },
      { ...file, path: '.twinsite/store.json' },
      { ...file, path: right.replace('papers', '..') },
      { ...file, path: `${right}x` },
      { ...file, name: 'other' },
      { ...file, name: '../x', path: right.replace('paper.pdf', '../x') },
      { ...file, id: 'nonsense' },
      { ...file, sizeBytes: 11 },
      { ...file, sha256: '0'.repeat(64) },
      { ...file, sizeBytes: -1 },
    ];
    const head = { v: 1, expectedBytes: null };
    const finish = encodeMessage({ op: 'finish' });
    for (const one of wrong) {
      const answer = await say('deposit-put', head, [
        encodeData([bytes]),
        finish,
        encodeMessage({ op: 'publish', file: one }),
      ]);
      expect(answer).toContain('refused');
      expect(answer).not.toContain('published');
    }
    const publish = encodeMessage({ op: 'publish', file });
    for (const records of [
      [publish],
      [encodeData([bytes]), publish],
      [encodeData([bytes]), finish, encodeData([bytes]), publish],
      [encodeData([bytes]), finish, finish],
      [new Uint8Array([9, 0, 0, 0, 1, 1])],
      [new Uint8Array([2, 255, 255, 255, 255])],
      [new Uint8Array([2, 0, 0, 0, 1, 123])],
      [new Uint8Array([1, 0])],
    ])
      expect(await say('deposit-put', head, records)).toContain('refused');
    for (const header of [
      null,
      {},
      { v: 2, expectedBytes: null },
      { v: 1, expectedBytes: 2 ** 60 },
    ])
      expect(await say('deposit-put', header, [])).toContain('refused');
    expect(await say('deposit-put', { v: 1, expectedBytes: 2 ** 52 }, [])).toContain('storage');
    await until(async () => (await visible(pair.b.root)).length === 0, 'nothing is left');
    const good = await say('deposit-put', head, [encodeData([bytes]), finish, publish]);
    expect(good).toContain('published');
    expect(await visible(pair.b.root)).toEqual([right]);
  });

  test('reads nothing but deposits', async () => {
    pair = await openPair();
    const { row } = await deposit(pair.a, sample(100));
    const { id, depositId, name, path: right, sizeBytes, sha256 } = row;
    const file = { id, depositId, name, path: right, sizeBytes, sha256 };
    const head = { v: 1, file, firstChunk: 0, lastChunk: 0 };
    for (const header of [
      { ...head, file: { ...file, path: '.twinsite/store.json' } },
      { ...head, file: { ...file, path: '../../../etc/passwd', name: 'passwd' } },
      { ...head, file: { ...file, path: right.replace('/papers/', '/./papers/') } },
      { ...head, firstChunk: 5, lastChunk: 9 },
      { ...head, firstChunk: -1 },
      { v: 1 },
    ])
      expect(await say('deposit-get', header, [])).toContain('refused');
    expect(await say('deposit-get', head, [])).toBe('[{"bytes":100}]');
  });

  test('asks for too many deposits at once', async () => {
    pair = await openPair();
    const ids = Array.from({ length: 501 }, () => '0192f5a0-0000-7000-8000-0000000000ab');
    const question = pair.link.a.request('deposit.resolve', { ids }, options);
    expect(await errorOf(question)).toMatchObject({ code: 'peer-refused' });
  });

  test('that lies about what it flushed is left out, with a metric', async () => {
    pair = await openPair();
    pair.link.b.serve('deposit-put', async (exchange) => {
      for await (const record of receive(exchange))
        if (record.kind === 'message')
          await exchange.send(
            encodeMessage({ finished: { sizeBytes: 5, sha256: 'a'.repeat(64) } }),
          );
    });
    const { atPeer, row } = await deposit(pair.a, sample(5));
    expect(atPeer).toBe(false);
    expect(await pair.a.bytes.ensureHeld(row)).toBe(true);
    expect(await pair.a.metrics.text()).toContain('twinsite_deposit_peer_mismatch_total 1');
  });
});
