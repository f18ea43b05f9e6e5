/** The parts of the demo that need no running site. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { existsSync, promises as fs } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Application } from '../../src/cli/demo/application.ts';
import {
  choosePorts,
  isOpenToAll,
  kernelPorts,
  prepareDirectory,
  readMarker,
  serveArguments,
  siteLayout,
} from '../../src/cli/demo/layout.ts';
import { DemoSite } from '../../src/cli/demo/site-process.ts';
import { differences, hashTree } from '../../src/cli/demo/trees.ts';
import { waitFor } from '../../src/cli/demo/wait.ts';
import { readIdentity } from '../../src/link/identity-file.ts';
import { loadSettings, toConfig } from '../../src/platform/settings/config.ts';

let directory = '';
beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-demo-'));
  await fs.chmod(directory, 0o755);
});
afterEach(() => fs.rm(directory, { recursive: true, force: true }));

describe('the directory', () => {
  test('is made with two identities of one pair, and kept on a second run', async () => {
    const ports = await kernelPorts();
    expect(await readMarker(directory)).toBeNull();
    await prepareDirectory(directory, { topology: 't1', ports });
    const a = await readIdentity(siteLayout(directory, 'a').identity);
    const b = await readIdentity(siteLayout(directory, 'b').identity);
    expect([a.site, a.peer, a.pairId]).toEqual(['a', 'b', b.pairId] as never);
    expect(await readMarker(directory)).toEqual({ topology: 't1', ports });
    await prepareDirectory(directory, { topology: 't1', ports });
    expect((await readIdentity(siteLayout(directory, 'a').identity)).pairId).toBe(a.pairId);
  });

  test('of somebody else is refused', async () => {
    await fs.writeFile(path.join(directory, 'thesis.txt'), '');
    expect(readMarker(directory)).rejects.toThrow('no demo made it');
  });

  test('a story inside does not make it somebody else’s', async () => {
    await fs.mkdir(path.join(directory, 'story'));
    expect(await readMarker(directory)).toBeNull();
  });

  test('the arguments are settings of serve, the mirror image at the other site', async () => {
    const ports = await kernelPorts();
    await prepareDirectory(directory, { topology: 't1', ports });
    const flags = (name: 'a' | 'b', topology: 't1' | 't2') => {
      const [, ...args] = serveArguments(directory, name, ports, topology);
      const pairs = args.flatMap((each, index) =>
        each.startsWith('--') ? [[each.slice(2), args[index + 1] ?? ''] as const] : [],
      );
      return toConfig(
        loadSettings({
          flags: Object.fromEntries(pairs),
          env: {},
          cwd: '/',
        }),
      );
    };
    const [a, b] = [flags('a', 't1'), flags('b', 't1')];
    expect([a.storeDir, a.peerStoreDir]).toEqual([b.peerStoreDir ?? '', b.storeDir]);
    expect(a.peerUrl).toBe(`https://127.0.0.1:${b.peerListen.port}`);
    expect(flags('b', 't2').peerStoreDir).toBeNull();
  });
});

describe('ports', () => {
  test('four that are free; those that are given are refused when one is taken', async () => {
    const server = net.createServer();
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve());
    });
    const taken = (server.address() as net.AddressInfo).port;
    expect(choosePorts(taken)).rejects.toThrow('in use');
    const { a, b } = await choosePorts(null);
    expect(new Set([a.http, a.peer, b.http, b.peer, taken]).size).toBe(5);
    server.close();
  });
});

describe('trees', () => {
  test('equal but for what is private to a store', async () => {
    const [a, b] = [path.join(directory, 'a'), path.join(directory, 'b')];
    for (const root of [a, b]) {
      await fs.mkdir(path.join(root, 'x', 'y'), { recursive: true });
      await fs.writeFile(path.join(root, 'x', 'y', 'f'), 'same');
      await fs.mkdir(path.join(root, '.twinsite'));
      await fs.writeFile(path.join(root, '.twinsite', 'store.json'), root);
    }
    expect(differences(await hashTree(a), await hashTree(b))).toEqual([]);
    await fs.writeFile(path.join(b, 'x', 'y', 'f'), 'sane');
    await fs.writeFile(path.join(a, 'only'), '');
    const found = differences(await hashTree(a), await hashTree(b));
    expect(found).toHaveLength(2);
    expect(found[0]).toStartWith('only: file 0 e3b0c442');
    expect(found[0]).toEndWith('missing at B');
  });
});

describe('the application', () => {
  test('follows a link that flips, and tells when it cannot write', async () => {
    const link = path.join(directory, 'filestore');
    for (const store of ['san_A', 'san_B']) await fs.mkdir(path.join(directory, store));
    await fs.symlink(path.join(directory, 'san_A'), link);
    const application = await Application.start(link);
    try {
      const isRoot = process.getuid?.() === 0 && (await isOpenToAll(directory));
      expect(application.uid).toBe(isRoot ? 65_534 : null);
      await waitFor('two lines', () => application.written.length >= 2, { timeoutMs: 10_000 });
      await fs.mkdir(path.join(directory, 'san_B', 'app'));
      const owner = await fs.stat(path.join(directory, 'san_A', 'app'));
      await fs.chown(path.join(directory, 'san_B', 'app'), owner.uid, owner.gid);
      await fs.symlink(path.join(directory, 'san_B'), `${link}.new`);
      await fs.rename(`${link}.new`, link);
      const there = path.join(directory, 'san_B', 'app', 'log.txt');
      await waitFor('a line in san_B', () => existsSync(there), { timeoutMs: 10_000 });
      expect(application.errors).toEqual([]);
      expect(application.longestGapMs(0)).toBeGreaterThan(0);
      await fs.rm(link);
      await waitFor('an error', () => application.errors.length > 0, { timeoutMs: 10_000 });
    } finally {
      await application.stop();
    }
  });
});

describe('a site’s process', () => {
  test('that ends at once leaves its reason in the log', async () => {
    const layout = siteLayout(directory, 'a');
    await fs.mkdir(layout.root);
    const site = new DemoSite({ layout, args: ['serve', '--nonsense'], port: 1 });
    await site.start();
    expect(await site.end()).toEqual({ code: 2, signal: null });
    expect(site.running).toBe(false);
    expect(await site.tail()).toContain("unknown option '--nonsense'");
    expect(await site.status()).toBeNull();
    expect(await site.isReady()).toBe(false);
  });
});

test('a wait says what it waited for and what it saw', async () => {
  const never = waitFor('rain', () => false, { timeoutMs: 20, everyMs: 5, seen: () => 'sun' });
  expect(never).rejects.toThrow('expected within 0.02 s: rain; seen: sun');
});
