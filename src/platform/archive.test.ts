import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { listTree, packTree, unpackArchive } from './archive.ts';

let scratch = '';
beforeEach(async () => {
  scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-archive-'));
});
afterEach(() => fs.rm(scratch, { recursive: true, force: true }));

async function packed(): Promise<Uint8Array<ArrayBuffer>> {
  const from = path.join(scratch, 'from');
  await fs.mkdir(path.join(from, 'empty'), { recursive: true });
  await fs.mkdir(path.join(from, 'd/e'), { recursive: true });
  await fs.writeFile(path.join(from, 'd/e/big'), new Uint8Array(3_000_000).fill(7));
  await fs.writeFile(path.join(from, 'd/program'), '#!');
  await fs.writeFile(path.join(from, 'none'), '');
  await fs.chmod(path.join(from, 'd/program'), 0o755);
  await fs.chmod(path.join(from, 'empty'), 0o700);
  return packTree(from, await listTree(from));
}

async function unpack(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const to = path.join(scratch, 'to');
  await fs.mkdir(to);
  await unpackArchive(new Blob([await Bun.zstdCompress(bytes)]).stream(), to, null);
  return to;
}

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(() => 'no error', String);

describe('archives', () => {
  test('a tree comes out as it went in', async () => {
    const to = await unpack(await packed());
    expect(await listTree(to)).toEqual(await listTree(path.join(scratch, 'from')));
    const big = await fs.readFile(path.join(to, 'd/e/big'));
    expect(big.equals(await fs.readFile(path.join(scratch, 'from/d/e/big')))).toBe(true);
  });

  test('one that ends too early is refused', async () => {
    const bytes = await packed();
    expect(await failure(unpack(bytes.slice(0, bytes.length - 10)))).toContain('ends too early');
  });

  test('something else is refused', async () => {
    expect(await failure(unpack(new TextEncoder().encode('hello, hello')))).toContain('damaged');
  });

  test('a name that leads outside is refused', async () => {
    for (const name of ['../x', '/x', 'a/../../x', '..', './x']) {
      const index = JSON.stringify([{ path: name, mode: 0o644, size: 0 }]);
      const bytes = new Uint8Array([
        ...new TextEncoder().encode('TWPK1\n'),
        ...new Uint8Array(new Uint32Array([index.length]).buffer),
        ...new TextEncoder().encode(index),
      ]);
      expect(await failure(unpack(bytes))).toContain('must match pattern');
      await fs.rm(path.join(scratch, 'to'), { recursive: true, force: true });
    }
  });
});
