/** What must never lose or delete anything: dead watchers, lost indexes, empty mounts, mass deletion. */
import { Database } from 'bun:sqlite';
import { afterEach, describe, expect, test } from 'bun:test';
import fs from 'node:fs';
import path from 'node:path';
import { FilePair, type SiteChanges, until } from '../support/file-site.ts';
import { treeDifferences, walkTree } from '../support/tree-walker.ts';

let pair: FilePair;

async function makePair(changes: SiteChanges = {}): Promise<void> {
  pair = await FilePair.make(changes);
}

afterEach(async () => {
  await pair[Symbol.asyncDispose]();
});

const at = (name: 'a' | 'b', relative: string) => path.join(pair.rootOf(name), relative);

function put(name: 'a' | 'b', relative: string, content: string): void {
  fs.mkdirSync(path.dirname(at(name, relative)), { recursive: true });
  fs.writeFileSync(at(name, relative), content);
}

const differences = () => treeDifferences(pair.rootOf('a'), pair.rootOf('b'), { times: true });

async function equal(timeoutMs = 30_000): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  await pair.a.engine.sync(null, signal);
  await pair.b.engine.sync(null, signal);
  await until(
    () => differences().length === 0,
    () => differences().join('\n'),
    timeoutMs,
  );
}

async function dropIndex(name: 'a' | 'b'): Promise<void> {
  const data = path.join(pair.directory, `data-${name}`);
  fs.rmSync(data, { recursive: true });
}

const quickWatcher = { canaryMs: 200, blindMs: 1_000, readyMs: 60_000 };

describe('the watcher', () => {
  test('killed: found, replaced, nothing lost', async () => {
    await makePair({ watcherTimes: quickWatcher });
    await pair.start();
    await equal();
    await until(() => pair.a.engine.watcherPid() !== null, 'a watcher runs');
    const before = pair.a.engine.watcherPid();
    process.kill(before ?? 0, 'SIGKILL');
    put('a', 'deep/er/file', 'written while nobody watches');
    await until(() => {
      const now = pair.a.engine.watcherPid();
      return now !== null && now !== before;
    }, 'another watcher runs');
    await until(() => fs.existsSync(at('b', 'deep/er/file')), 'the file arrives without a sync');
  }, 30_000);

  test('stopped: seen as blind, killed, replaced; a burst meanwhile arrives', async () => {
    await makePair({ watcherTimes: quickWatcher });
    await pair.start();
    await equal();
    await until(() => pair.a.engine.watcherPid() !== null, 'a watcher runs');
    const before = pair.a.engine.watcherPid();
    process.kill(before ?? 0, 'SIGSTOP');
    for (let i = 0; i < 300; i += 1) put('a', `burst/d${i % 10}/f${i}`, `x${i}`);
    fs.rmSync(at('a', 'burst/d3'), { recursive: true });
    await until(
      () => differences().length === 0,
      () => differences().join('\n'),
    );
    expect(fs.existsSync(at('b', 'burst/d4/f4'))).toBe(true);
    expect(pair.a.engine.watcherPid()).not.toBe(before);
  }, 40_000);

  test('new nested directories are seen, also when written to later', async () => {
    await makePair();
    await pair.start();
    await equal();
    await until(() => pair.a.engine.watcherPid() !== null, 'a watcher runs');
    fs.mkdirSync(at('a', 'p/q/r'), { recursive: true });
    await until(() => fs.existsSync(at('b', 'p/q/r')), 'the directories arrive');
    // Past the walks that follow a new directory: only a watcher sees the next write.
    await Bun.sleep(1_000);
    fs.writeFileSync(at('a', 'p/q/r/late'), 'later');
    const startedMs = performance.now();
    await until(() => fs.existsSync(at('b', 'p/q/r/late')), 'the late file arrives');
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  }, 30_000);

  test('a file that is appended to all the while arrives promptly, again and again', async () => {
    await makePair();
    await pair.start();
    await equal();
    await until(() => pair.a.engine.watcherPid() !== null, 'a watcher runs');
    let lines = 0;
    const writer = setInterval(() => {
      lines += 1;
      fs.appendFileSync(at('a', 'log'), `line ${lines}\n`);
    }, 150);
    try {
      for (const want of [5, 15, 25]) {
        await until(() => {
          const text = fs.existsSync(at('b', 'log')) ? fs.readFileSync(at('b', 'log'), 'utf8') : '';
          return text.split('\n').length > want;
        }, `line ${want} arrives while the file is written to`);
        expect(lines - want).toBeLessThan(12);
      }
    } finally {
      clearInterval(writer);
    }
    await equal();
  }, 30_000);
});

describe('absence is not deletion', () => {
  test('an empty directory in place of the store deletes nothing anywhere', async () => {
    await makePair();
    for (let i = 0; i < 50; i += 1) put('a', `d/f${i}`, `x${i}`);
    await pair.start();
    await equal();
    fs.renameSync(pair.rootOf('a'), `${pair.rootOf('a')}.away`);
    fs.mkdirSync(pair.rootOf('a'));
    await pair.a.engine.sync(null, AbortSignal.timeout(1_500)).catch(() => undefined);
    fs.writeFileSync(at('a', 'new'), 'in the wrong place');
    await pair.a.engine.sync(null, AbortSignal.timeout(1_500)).catch(() => undefined);
    expect(walkTree(pair.rootOf('b')).size).toBe(51);
    expect(pair.a.engine.status().entries).toBe(51);
    fs.rmSync(pair.rootOf('a'), { recursive: true });
    fs.renameSync(`${pair.rootOf('a')}.away`, pair.rootOf('a'));
    put('a', 'd/after', 'works again');
    await equal(40_000);
    expect(walkTree(pair.rootOf('b')).size).toBe(52);
  }, 60_000);

  test('files that went missing while the process was down are healed, not deleted', async () => {
    await makePair();
    for (let i = 0; i < 50; i += 1) put('a', `d/f${i}`, `x${i}`);
    await pair.start();
    await equal();
    await pair.stopA();
    fs.rmSync(at('a', 'd'), { recursive: true });
    await pair.startA();
    await equal();
    expect(walkTree(pair.rootOf('a')).size).toBe(51);
    expect(pair.a.engine.status().healedMissing).toBeGreaterThan(0);
  }, 30_000);

  test('a lost index: nothing is lost, nothing comes back, edits of both sides are kept', async () => {
    await makePair();
    for (let i = 0; i < 50; i += 1) put('a', `d/f${i}`, `x${i}`);
    await pair.start();
    await equal();
    await pair.stopA();
    await dropIndex('a');
    put('a', 'd/f1', 'edited at a without an index');
    put('a', 'd/new-a', 'new at a');
    put('b', 'd/f2', 'edited at b');
    fs.rmSync(at('b', 'd/f3'));
    put('b', 'd/f1', 'edited at b too');
    await pair.b.engine.sync(null, AbortSignal.timeout(500)).catch(() => undefined);
    await pair.startA();
    await equal();
    expect(fs.readFileSync(at('a', 'd/f1'), 'utf8')).toBe('edited at b too');
    expect(fs.readFileSync(at('a', 'd/f2'), 'utf8')).toBe('edited at b');
    expect(fs.existsSync(at('a', 'd/f3'))).toBe(false);
    expect(fs.readFileSync(at('b', 'd/new-a'), 'utf8')).toBe('new at a');
    const kept = fs
      .readdirSync(at('a', '.twinsite/conflicts/d'))
      .map((name) => fs.readFileSync(at('a', `.twinsite/conflicts/d/${name}`), 'utf8'));
    expect(kept).toEqual(['edited at a without an index']);
  }, 40_000);

  test('an index and a store lost together are filled from the peer', async () => {
    await makePair();
    for (let i = 0; i < 50; i += 1) put('a', `d/f${i}`, `x${i}`);
    await pair.start();
    await equal();
    await pair.stopA();
    await dropIndex('a');
    fs.rmSync(pair.rootOf('a'), { recursive: true });
    fs.mkdirSync(pair.rootOf('a'));
    await pair.startA({ storeId: 'a-new-store' });
    await equal();
    expect(walkTree(pair.rootOf('b')).size).toBe(51);
  }, 30_000);

  test('an index restored from a copy: what the peer saw since is not used again for other content', async () => {
    await makePair();
    put('a', 'one', 'first');
    await pair.start();
    await equal();
    await pair.stopA();
    const data = path.join(pair.directory, 'data-a');
    fs.cpSync(data, `${data}.copy`, { recursive: true });
    await pair.startA();
    put('a', 'one', 'second');
    put('a', 'two', 'second');
    await equal();
    await pair.stopA();
    fs.rmSync(data, { recursive: true });
    fs.renameSync(`${data}.copy`, data);
    put('a', 'three', 'third');
    await pair.startA();
    await equal();
    for (const [name, content] of [
      ['one', 'second'],
      ['two', 'second'],
      ['three', 'third'],
    ]) {
      expect(fs.readFileSync(at('b', name ?? ''), 'utf8')).toBe(content ?? '');
    }
  }, 40_000);

  test('after a power cut what differs is kept beside, and the version both knew stays', async () => {
    await makePair();
    put('a', 'd/f', 'as both knew it');
    put('a', 'd/same', 'untouched');
    await pair.start();
    await equal();
    await pair.stopA();
    const index = new Database(path.join(pair.directory, 'data-a', 'index.sqlite'));
    index.run("UPDATE meta SET value = 'another boot' WHERE key = 'boot_id'");
    index.run("DELETE FROM meta WHERE key = 'clean'");
    index.close();
    put('a', 'd/f', 'half a wri');
    const before = new Date(Date.now() - 60_000);
    fs.utimesSync(at('a', 'd/f'), before, before);
    put('a', 'd/new', 'new');
    await pair.startA();
    await equal();
    expect(fs.readFileSync(at('a', 'd/f'), 'utf8')).toBe('as both knew it');
    expect(fs.readFileSync(at('b', 'd/new'), 'utf8')).toBe('new');
    const names = fs.readdirSync(at('a', '.twinsite/conflicts/d'));
    expect(
      names.map((name) => fs.readFileSync(at('a', `.twinsite/conflicts/d/${name}`), 'utf8')),
    ).toEqual(['half a wri']);
  }, 30_000);

  test('after kill -9 alone what differs is an edit', async () => {
    await makePair();
    put('a', 'd/f', 'as both knew it');
    await pair.start();
    await equal();
    await pair.stopA();
    const index = new Database(path.join(pair.directory, 'data-a', 'index.sqlite'));
    index.run("DELETE FROM meta WHERE key = 'clean'");
    index.close();
    put('a', 'd/f', 'written while nobody watched');
    await pair.startA();
    await equal();
    expect(fs.readFileSync(at('b', 'd/f'), 'utf8')).toBe('written while nobody watched');
  }, 30_000);

  test.if(process.getuid?.() === 0)(
    'owners are kept by number',
    async () => {
      await makePair();
      put('a', 'd/f', 'of another user');
      await pair.start();
      await equal();
      fs.chownSync(at('a', 'd/f'), 12_345, 54_321);
      fs.chownSync(at('a', 'd'), 12_345, 54_321);
      fs.chmodSync(at('a', 'd'), 0o2770);
      await equal();
      const [directory, file] = [fs.statSync(at('b', 'd')), fs.statSync(at('b', 'd/f'))];
      expect([file.uid, file.gid, directory.uid, directory.mode & 0o7777]).toEqual([
        12_345, 54_321, 12_345, 0o2770,
      ]);
    },
    30_000,
  );

  test('more deletions than allowed are held at the side that saw them', async () => {
    await makePair({ massDelete: { count: 20, percent: 10 } });
    for (let i = 0; i < 100; i += 1) put('a', `d/f${i}`, `x${i}`);
    await pair.start();
    await equal();
    await until(() => pair.a.engine.watcherPid() !== null, 'a watcher runs');
    fs.rmSync(at('a', 'd'), { recursive: true });
    await until(() => pair.a.engine.status().heldDeletes > 0, 'deletions are held');
    await pair.a.engine.sync(null, AbortSignal.timeout(20_000));
    expect(walkTree(pair.rootOf('b')).size).toBeGreaterThanOrEqual(80);
    expect(pair.a.alarms.list().map((alarm) => alarm.code)).toContain('mass-delete');
  }, 30_000);

  test('different ignore rules pause replication; ignored names are neither sent nor deleted', async () => {
    await makePair();
    put('a', 'keep', '1');
    put('a', 'cache.tmp', 'stays here');
    await pair.startA({ ignore: ['*.tmp'] });
    await pair.startB();
    await until(
      () => pair.a.alarms.list().some((alarm) => alarm.code === 'ignore-rules-differ'),
      'the alarm',
    );
    await Bun.sleep(500);
    expect(fs.existsSync(at('b', 'keep'))).toBe(false);
    await pair.stopB();
    await pair.startB({ ignore: ['*.tmp'] });
    await until(() => fs.existsSync(at('b', 'keep')), 'replication goes on');
    await pair.a.engine.sync(null, AbortSignal.timeout(20_000));
    expect(fs.existsSync(at('b', 'cache.tmp'))).toBe(false);
    expect(fs.existsSync(at('a', 'cache.tmp'))).toBe(true);
    expect(pair.a.alarms.list()).toEqual([]);
  }, 30_000);
});

describe('hostile trees', () => {
  test('a symlinked directory leads nowhere: nothing is read or written outside', async () => {
    await makePair();
    const outside = path.join(pair.directory, 'outside');
    fs.mkdirSync(outside);
    fs.writeFileSync(path.join(outside, 'secret'), 'not ours');
    fs.symlinkSync(outside, at('a', 'out'));
    put('a', 'x/f', 'one');
    await pair.start();
    await equal();
    expect(fs.lstatSync(at('b', 'out')).isSymbolicLink()).toBe(true);
    pair.cut();
    // The peer's directory becomes a symlink while this side writes into it.
    fs.rmSync(at('b', 'x'), { recursive: true });
    fs.symlinkSync(outside, at('b', 'x'));
    const before = pair.b.engine.facts().seq;
    put('a', 'x/g', 'two');
    await until(() => pair.b.engine.facts().seq > before, 'b saw its change');
    pair.mend();
    await until(
      () => differences().length === 0,
      () => differences().join('\n'),
      30_000,
    );
    expect(fs.readdirSync(outside)).toEqual(['secret']);
  }, 60_000);

  test('the link breaks again and again while a large tree is copied', async () => {
    await makePair();
    for (let i = 0; i < 800; i += 1) put('a', `d${i % 9}/f${i}`, `content ${i} `.repeat(300));
    fs.writeFileSync(at('a', 'large'), Buffer.alloc(40 * 1024 * 1024, 'large'));
    await pair.start();
    for (let i = 0; i < 6; i += 1) {
      await Bun.sleep(300);
      pair.cut();
      await Bun.sleep(50);
      pair.mend();
    }
    await equal(60_000);
    expect(walkTree(pair.rootOf('b')).size).toBe(810);
  }, 90_000);
});
