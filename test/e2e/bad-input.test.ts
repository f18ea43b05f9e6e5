/** Every mistake gets one clear line that says what and what to do; nothing is half done. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { treeOf } from '../support/independent.ts';
import { Pair, QUICK, randomBody } from '../support/pair.ts';
import { BINARY, freePorts, runBinary, SiteProcess, until } from '../support/site-process.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start({ topology: 't2', flags: QUICK });
}, 90_000);
afterAll(async () => pair[Symbol.asyncDispose]());

function problems(stderr: string): string[] {
  return stderr.split('\n').filter((line) => line.trim() !== '');
}

/** A fresh single site with some setting spoiled. */
async function lonelySite(
  name: string,
  change: Partial<SiteProcess['options']> = {},
): Promise<SiteProcess> {
  const [port, peerPort] = (await freePorts(2)) as [number, number];
  const root = path.join(pair.root, name);
  await fs.mkdir(path.join(root, 'store'), { recursive: true });
  return new SiteProcess({
    name,
    root,
    store: path.join(root, 'store'),
    filestore: path.join(root, 'filestore'),
    port,
    peerPort,
    ...change,
  });
}

describe('at the start', () => {
  test('an unknown flag', async () => {
    const result = await runBinary(['serve', '--stroe', '/x']);
    expect(result.code).toBe(2);
    expect(problems(result.stderr)[0]).toContain('--stroe');
    expect(result.stderr).toContain('--store');
  });

  test('no settings at all: help and exit 2', async () => {
    const result = await runBinary([], { env: { TWINSITE_CONFIG: '' } });
    expect(result.code).toBe(2);
    expect(result.stdout + result.stderr).toContain('serve');
  });

  test('a store that is not there, a filestore that is a directory, a port in use, a second process', async () => {
    const missing = await lonelySite('missing-store', { store: path.join(pair.root, 'nowhere') });
    const a = await runBinary(missing.arguments());
    expect(a.code).not.toBe(0);
    expect(a.stderr).toContain(path.join(pair.root, 'nowhere'));

    const directory = await lonelySite('directory-link');
    await fs.mkdir(directory.options.filestore);
    const b = await runBinary(directory.arguments());
    expect(b.code).not.toBe(0);
    expect(b.stderr).toContain(directory.options.filestore);
    expect((await fs.stat(directory.options.filestore)).isDirectory()).toBe(true);

    const busy = await lonelySite('busy-port', { port: pair.a.options.port });
    const c = await runBinary(busy.arguments());
    expect(c.code).not.toBe(0);
    expect(c.stderr).toContain(String(pair.a.options.port));

    const second = new SiteProcess({ ...pair.a.options, port: (await freePorts(1))[0] as number });
    const d = await runBinary(second.arguments());
    expect(d.code).not.toBe(0);
    expect(d.stderr).toContain(String(pair.a.pid));

    const sameStore = await lonelySite('same-store', { store: pair.a.options.store });
    const e = await runBinary(sameStore.arguments());
    expect(e.code).not.toBe(0);
    expect(e.stderr).toContain(pair.a.options.store);
  }, 60_000);

  test('an identity that others can read, and one of another pair', async () => {
    const open = path.join(pair.root, 'open.pem');
    await fs.copyFile(path.join(pair.root, 'a.pem'), open);
    await fs.chmod(open, 0o644);
    const a = await runBinary((await lonelySite('open-identity', { identity: open })).arguments());
    expect(a.code).not.toBe(0);
    expect(a.stderr).toContain('chmod 600');

    const other = path.join(pair.root, 'other');
    await fs.mkdir(other);
    await runBinary([
      'pair',
      'a=127.0.0.1:1',
      `b=127.0.0.1:${pair.b.options.peerPort}`,
      '--out',
      other,
    ]);
    const stranger = await lonelySite('stranger', {
      identity: path.join(other, 'a.pem'),
      peer: `https://127.0.0.1:${pair.b.options.peerPort}`,
    });
    await stranger.start();
    try {
      await until(
        'the stranger says why',
        () =>
          /pair|certificate/i.test(stranger.tail(50)) &&
          stranger.tail(50).includes(String(pair.b.options.peerPort)),
      );
      await until('b says why', () =>
        /"event":"link\.[^"]*".*(certificate|pair|CA)/i.test(pair.b.tail(80)),
      );
      expect((await pair.b.status()).state).toBe('paired');
    } finally {
      await stranger.kill9();
    }
  }, 60_000);

  test.if(process.getuid?.() === 0)(
    'no right to write into the store or beside the link',
    async () => {
      const root = path.join(pair.root, 'readonly');
      await fs.mkdir(path.join(root, 'store'), { recursive: true });
      await fs.mkdir(path.join(root, 'links'), { recursive: true });
      await fs.mkdir(path.join(root, 'data'), { recursive: true });
      await fs.chown(path.join(root, 'data'), 65534, 65534);
      await fs.chmod(root, 0o755);
      const [port, peerPort] = (await freePorts(2)) as [number, number];
      const child = Bun.spawn(
        [
          BINARY,
          'serve',
          '--data',
          path.join(root, 'data'),
          '--store',
          path.join(root, 'store'),
          '--filestore',
          path.join(root, 'links', 'filestore'),
          '--listen',
          `127.0.0.1:${port}`,
          '--peer-listen',
          `127.0.0.1:${peerPort}`,
        ],
        { uid: 65534, gid: 65534, stdout: 'pipe', stderr: 'pipe' },
      );
      const text = await new Response(child.stderr).text();
      expect(await child.exited).not.toBe(0);
      expect(text).toMatch(/store|links/);
      expect(text).toMatch(/permission|write/i);
    },
    30_000,
  );
});

describe('at the door', () => {
  async function post(headers: Record<string, string>, body = 'x', collection = 'papers') {
    const response = await fetch(`${pair.a.url}/collections/${collection}/deposits`, {
      method: 'POST',
      headers,
      body,
    });
    return {
      status: response.status,
      problem: (await response.json()) as { code: string; detail: string; requestId: string },
      type: response.headers.get('content-type'),
    };
  }

  test('hostile names, wrong digests, no credentials: problem+json, and nothing is kept', async () => {
    const before = await treeOf(pair.a.options.store);
    const names = ['../../etc/passwd', 'a/b', 'a\\b', '..', 'n'.repeat(1025)];
    for (const name of names) {
      const answer = await post(
        pair.headers({
          'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
        }),
      );
      expect([name, answer.status, answer.problem.code]).toEqual([name, 400, 'bad-name']);
      expect(answer.type).toContain('application/problem+json');
      expect(answer.problem.requestId).toBeTruthy();
    }
    const mismatch = await post(
      pair.headers({ 'content-md5': '00000000000000000000000000000000' }),
    );
    expect([mismatch.status, mismatch.problem.code]).toEqual([400, 'digest-mismatch']);
    const malformed = await post(pair.headers({ 'content-digest': 'sha-256=nonsense' }));
    expect([malformed.status, malformed.problem.code]).toEqual([400, 'digest-invalid']);
    const anonymous = await post({});
    expect(anonymous.status).toBe(401);
    const elsewhere = await post(pair.headers(), 'x', 'nothing');
    expect([403, 404]).toContain(elsewhere.status);
    expect(await treeOf(pair.a.options.store)).toEqual(before);
  }, 30_000);

  test('a body cut off half way leaves nothing', async () => {
    const before = await treeOf(pair.a.options.store);
    const socket = net.connect(pair.a.options.port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(
      `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${pair.token}\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(200_000)}`,
    );
    await Bun.sleep(300);
    socket.destroy();
    for (const site of [pair.a, pair.b]) {
      await until(
        `no temp left at ${site.options.name}`,
        async () =>
          (await fs.readdir(path.join(site.options.store, '.twinsite', 'tmp'))).length === 0,
      );
    }
    expect(await treeOf(pair.a.options.store)).toEqual(before);
  }, 30_000);

  test('the same key: a replay with equal content, 422 with other content', async () => {
    const body = randomBody(300);
    const key = { 'idempotency-key': 'twice' };
    const first = await pair.deposit(pair.a, body, key);
    const again = await pair.deposit(pair.b, body, key);
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.receipt.id).toBe(first.receipt.id);
    expect(again.headers.get('idempotent-replay')).toBe('true');
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    const other = await pair.deposit(pair.a, randomBody(301), key);
    expect([other.status, other.receipt.code]).toEqual([422, 'idempotency-key-reused']);
  }, 30_000);

  test('ranges, and what a stranger sees', async () => {
    const body = randomBody(10_000);
    const { receipt } = await pair.deposit(pair.b, body);
    const url = `${pair.a.url}${receipt.links.self}/files/paper.bin`;
    const part = await fetch(url, { headers: pair.headers({ range: 'bytes=100-199' }) });
    expect(part.status).toBe(206);
    expect(new Uint8Array(await part.arrayBuffer())).toEqual(body.slice(100, 200));
    const beyond = await fetch(url, { headers: pair.headers({ range: 'bytes=10000-' }) });
    expect(beyond.status).toBe(416);
    const other = (await pair.a.admin('depositor', 'add', 'mallory', '--collection', 'papers'))
      .token;
    const seen = await fetch(url, { headers: { authorization: `Bearer ${other}` } });
    expect(seen.status).toBe(404);
    expect((await fetch(url)).status).toBe(401);
  }, 30_000);
});

test.if(process.getuid?.() === 0)(
  'a full disk: 507, unready, and well again with space',
  async () => {
    const { execFileSync } = await import('node:child_process');
    const image = path.join(pair.root, 'small.img');
    const mount = path.join(pair.root, 'small');
    await fs.mkdir(mount);
    execFileSync('truncate', ['-s', '96M', image]);
    execFileSync('mkfs.ext4', ['-q', '-F', image]);
    try {
      execFileSync('mount', ['-o', 'loop', image, mount], { stdio: 'pipe' });
    } catch (error) {
      console.log(
        `no loop mounts here, the full disk is not tried: ${String(error).split('\n')[0]}`,
      );
      return;
    }
    const site = await lonelySite('full', {
      store: path.join(mount, 'store'),
      flags: ['--start-alone-after', '1s'],
    });
    try {
      await fs.mkdir(path.join(mount, 'store'));
      await site.startReady();
      await site.admin('collection', 'add', 'papers');
      const token = (await site.admin('depositor', 'add', 'alice', '--collection', 'papers')).token;
      const post = async (sizeBytes: number) =>
        fetch(`${site.url}/collections/papers/deposits`, {
          method: 'POST',
          headers: { authorization: `Bearer ${token}` },
          body: randomBody(sizeBytes),
        });
      expect((await post(1000)).status).toBe(201);
      const before = await treeOf(site.options.store);
      expect((await post(200 * 2 ** 20)).status).toBe(507);
      expect(await treeOf(site.options.store)).toEqual(before);
      await fs
        .writeFile(path.join(mount, 'filler'), randomBody(96 * 2 ** 20))
        .catch(() => undefined);
      await until(
        'unready on a full disk',
        async () => (await fetch(`${site.url}/readyz`)).status === 503,
      );
      expect((await fetch(`${site.url}/readyz/read`)).status).toBe(200);
      await fs.rm(path.join(mount, 'filler'));
      await site.ready();
      expect((await post(1000)).status).toBe(201);
    } finally {
      await site.kill9();
      execFileSync('umount', ['-l', mount]);
    }
  },
  90_000,
);
