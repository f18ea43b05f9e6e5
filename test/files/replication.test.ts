/** Two file engines on real trees: what applications do at either side arrives at the other. */
import { afterEach, describe, expect, test } from 'bun:test';
import fs from 'node:fs';
import path from 'node:path';
import { FilePair, type SiteChanges, until } from '../support/file-site.ts';
import { treeDifferences, walkTree } from '../support/tree-walker.ts';

let pair: FilePair;

async function makePair(changes: SiteChanges = {}): Promise<FilePair> {
  pair = await FilePair.make(changes);
  return pair;
}

afterEach(async () => {
  await pair[Symbol.asyncDispose]();
});

function at(name: 'a' | 'b', relative: string): string {
  return path.join(pair.rootOf(name), relative);
}

function put(name: 'a' | 'b', relative: string, content: string): void {
  fs.mkdirSync(path.dirname(at(name, relative)), { recursive: true });
  fs.writeFileSync(at(name, relative), content);
}

function read(name: 'a' | 'b', relative: string): string | null {
  try {
    return fs.readFileSync(at(name, relative), 'utf8');
  } catch {
    return null;
  }
}

/** Waits until a site's own scan or watcher told its journal of `count` more changes. */
async function noticed(name: 'a' | 'b', since: number, count: number): Promise<void> {
  const site = () => (name === 'a' ? pair.a : pair.b);
  await until(
    () => site().engine.facts().seq >= since + count,
    () => `${name} noticed ${site().engine.facts().seq - since} of ${count} changes`,
  );
}

const seqs = () => [pair.a.engine.facts().seq, pair.b.engine.facts().seq] as const;

/** Both sides applied everything, and an independent look finds equal trees. */
async function equal(timeoutMs = 30_000): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  await pair.a.engine.sync(null, signal);
  await pair.b.engine.sync(null, signal);
  await until(
    () => treeDifferences(pair.rootOf('a'), pair.rootOf('b'), { times: true }).length === 0,
    () => treeDifferences(pair.rootOf('a'), pair.rootOf('b'), { times: true }).join('\n'),
    timeoutMs,
  );
  await until(
    () => pair.a.engine.facts().root === pair.b.engine.facts().root,
    () => `roots differ: ${JSON.stringify([pair.a.engine.facts(), pair.b.engine.facts()])}`,
  );
}

function copies(name: 'a' | 'b', kind: 'conflicts' | 'trash'): string[] {
  const directory = at(name, `.twinsite/${kind}`);
  if (!fs.existsSync(directory)) return [];
  return fs
    .readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => fs.readFileSync(path.join(entry.parentPath, entry.name), 'utf8'))
    .sort();
}

for (const watcher of ['on', 'off'] as const) {
  describe(`with the watcher ${watcher}`, () => {
    test('a thousand files each way, edits, renames, deletions, modes, links, odd names', async () => {
      await makePair({ watcher });
      for (const name of ['a', 'b'] as const) {
        for (let i = 0; i < 1_000; i += 1) put(name, `${name}/d${i % 20}/f${i}`, `${name} ${i}`);
      }
      await pair.start();
      await equal();
      expect(walkTree(pair.rootOf('a')).size).toBe(2 * (1_000 + 20 + 1));

      for (let i = 0; i < 60; i += 1) put('b', `a/d${i % 20}/f${i}`, `edited ${i}`);
      fs.renameSync(at('a', 'b/d3'), at('a', 'b/moved'));
      fs.rmSync(at('b', 'a/d7'), { recursive: true });
      fs.rmSync(at('a', 'b/d5/f5'));
      fs.chmodSync(at('a', 'b/d6/f6'), 0o640);
      fs.symlinkSync('f1', at('a', 'link'));
      fs.mkdirSync(at('b', 'empty/deep'), { recursive: true });
      put('a', 'n'.repeat(255), 'long name');
      const odd = Buffer.concat([Buffer.from(at('b', '/')), Buffer.from([0x62, 0xff, 0xfe])]);
      fs.writeFileSync(odd, 'not UTF-8');
      await equal();
      expect(read('a', 'a/d0/f0')).toBe('edited 0');
      expect(fs.existsSync(at('b', 'b/moved/f3'))).toBe(true);
      expect(fs.existsSync(at('b', 'b/d3'))).toBe(false);
      expect(fs.existsSync(at('a', 'a/d7'))).toBe(false);
      expect(fs.existsSync(at('b', 'b/d5/f5'))).toBe(false);
      expect(fs.statSync(at('b', 'b/d6/f6')).mode & 0o777).toBe(0o640);
      expect(fs.readlinkSync(at('b', 'link'))).toBe('f1');
      expect(fs.existsSync(at('a', 'empty/deep'))).toBe(true);
      expect([...walkTree(pair.rootOf('a')).keys()]).toContain('hex:62fffe');
      expect(copies('a', 'conflicts')).toEqual([]);
    }, 90_000);
  });
}

describe('the journal', () => {
  test('an applied change adds nothing to the journal of the site that applied it', async () => {
    await makePair();
    await pair.start();
    await equal();
    const before = pair.b.engine.facts().seq;
    for (let i = 0; i < 50; i += 1) put('a', `x/y/f${i}`, `content ${i}`);
    fs.symlinkSync('nowhere', at('a', 'x/dangling'));
    await equal();
    fs.rmSync(at('a', 'x/y/f1'));
    put('a', 'x/y/f2', 'again');
    fs.chmodSync(at('a', 'x/y/f3'), 0o600);
    await equal();
    expect(pair.b.engine.facts().seq).toBe(before);
  }, 30_000);

  test('a restart with nothing changed moves no content', async () => {
    await makePair();
    for (let i = 0; i < 300; i += 1) put('a', `d${i % 7}/f${i}`, `content ${i}`);
    await pair.start();
    await equal();
    const gets = () =>
      (pair.links.a.opened.get('files-get') ?? 0) + (pair.links.b.opened.get('files-get') ?? 0);
    const [before, journals] = [gets(), seqs()];
    await pair.stopA();
    await pair.stopB();
    await pair.start();
    await equal();
    expect(gets()).toBe(before);
    expect(seqs()).toEqual(journals);
  }, 30_000);

  test('a moved tree moves no content', async () => {
    await makePair();
    for (let i = 0; i < 200; i += 1) put('a', `tree/d${i % 7}/f${i}`, `content ${i}`.repeat(500));
    await pair.start();
    await equal();
    const before = pair.links.b.received();
    fs.renameSync(at('a', 'tree'), at('a', 'other'));
    await equal();
    expect(pair.links.b.received() - before).toBeLessThan(200 * 2_000);
    expect(read('b', 'other/d1/f1')).toBe('content 1'.repeat(500));
    expect(fs.existsSync(at('b', 'tree'))).toBe(false);
    expect(pair.a.engine.status().heldDeletes).toBe(0);
  }, 30_000);
});

describe('apart and together again', () => {
  test('both sites edit one path while the link is cut: one winner, both contents kept at both', async () => {
    await makePair();
    put('a', 'shared', 'first');
    put('a', 'mode', 'same');
    await pair.start();
    await equal();
    const [a, b] = seqs();
    pair.cut();
    put('a', 'shared', 'from a');
    put('b', 'shared', 'from b, longer');
    put('a', 'only-a', '1');
    put('b', 'only-b', '2');
    put('a', 'both-same', 'equal content');
    put('b', 'both-same', 'equal content');
    await noticed('a', a, 3);
    await noticed('b', b, 3);
    pair.mend();
    await equal();
    expect(read('a', 'shared')).toBe('from a');
    expect(read('b', 'shared')).toBe('from a');
    expect(read('b', 'only-a')).toBe('1');
    expect(read('a', 'only-b')).toBe('2');
    await until(
      () => copies('a', 'conflicts').length === 1 && copies('b', 'conflicts').length === 1,
      () => JSON.stringify([copies('a', 'conflicts'), copies('b', 'conflicts')]),
    );
    expect(copies('a', 'conflicts')).toEqual(['from b, longer']);
    expect(copies('b', 'conflicts')).toEqual(['from b, longer']);
  }, 30_000);

  test('a deletion at one side and an edit at the other: the edit lives', async () => {
    await makePair();
    put('a', 'd/f', 'first');
    put('a', 'd/g', 'goes');
    await pair.start();
    await equal();
    const [a, b] = seqs();
    pair.cut();
    fs.rmSync(at('a', 'd'), { recursive: true });
    put('b', 'd/f', 'edited');
    await noticed('a', a, 3);
    await noticed('b', b, 1);
    pair.mend();
    await equal();
    expect(read('a', 'd/f')).toBe('edited');
    expect(read('a', 'd/g')).toBe(null);
  }, 30_000);

  test('a file in place of a directory at one side, a new child at the other: the child lives', async () => {
    await makePair();
    put('a', 'x/one', '1');
    await pair.start();
    await equal();
    const [a, b] = seqs();
    pair.cut();
    fs.rmSync(at('a', 'x'), { recursive: true });
    put('a', 'x', 'a file now');
    put('b', 'x/two', '2');
    await noticed('a', a, 2);
    await noticed('b', b, 1);
    pair.mend();
    await equal();
    expect(read('a', 'x/two')).toBe('2');
    await until(
      () => copies('a', 'conflicts').concat(copies('a', 'trash')).includes('a file now'),
      'the file is kept aside',
    );
  }, 30_000);

  test('directories become files and files directories', async () => {
    await makePair();
    put('a', 'x/one', '1');
    put('a', 'y', 'a file');
    await pair.start();
    await equal();
    fs.rmSync(at('b', 'x'), { recursive: true });
    put('b', 'x', 'now a file');
    fs.rmSync(at('b', 'y'));
    put('b', 'y/child', 'now a directory');
    await equal();
    expect(read('a', 'x')).toBe('now a file');
    expect(read('a', 'y/child')).toBe('now a directory');
  }, 30_000);
});
