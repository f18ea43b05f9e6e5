/** Health, status, metrics, the balancer's line, listeners and the admin socket. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import 'reflect-metadata';
import { X509CertificateGenerator } from '@peculiar/x509';
import type { SiteControl } from '../../src/core/ports.ts';
import type { Service } from '../../src/core/service.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { accountsService } from '../../src/server/accounts/accounts.ts';
import { createAdminApp } from '../../src/server/admin/app.ts';
import { createAdminListener } from '../../src/server/admin/listener.ts';
import { createHttpListener } from '../../src/server/listener.ts';
import { agentLine, createAgentCheck } from '../../src/server/ops/agent-check.ts';
import { createLoadMeter, nextLoad } from '../../src/server/ops/load.ts';
import { createOpsApp } from '../../src/server/ops/routes.ts';
import { failureOf } from '../support/failure-of.ts';
import { createMemorySite, startMemorySite } from '../support/memory-site.ts';

// biome-ignore lint/suspicious/noExplicitAny: documents of the outside, looked at field by field
type Json = any;

/** Runs a service until disposed; `ready` resolves at its first healthy moment. */
function start(service: Service) {
  const stopping = new AbortController();
  const readiness = Promise.withResolvers<void>();
  const ended = service.run({
    signal: stopping.signal,
    clock: systemClock,
    log: silentLog,
    ready: () => readiness.resolve(),
  });
  ended.catch(readiness.reject);
  readiness.promise.catch(() => undefined);
  return {
    ready: readiness.promise,
    ended,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await ended.catch(() => undefined);
    },
  };
}

describe('health', () => {
  const site = createMemorySite();
  const get = async (url: string) => {
    const response = await site.app.request(
      url,
      {},
      { remoteAddress: '127.0.0.1', encrypted: false },
    );
    return {
      status: response.status,
      body: response.status === 404 ? null : await response.text(),
    };
  };

  test('livez always; readyz with the site; readyz/read stays up with a full disk', async () => {
    expect(await get('/livez')).toEqual({ status: 200, body: 'ok\n' });
    expect(await get('/readyz')).toEqual({
      status: 200,
      body: '{"ready":true,"state":"paired","mode":"both"}',
    });
    site.facts.freeBytes = 1;
    site.facts.answering = false;
    expect(await get('/readyz')).toEqual({
      status: 503,
      body: '{"ready":false,"state":"paired","mode":"local"}',
    });
    expect((await get('/readyz/read')).status).toBe(200);
    Object.assign(site.facts, { freeBytes: 1e12, answering: true });
  });

  test('the status document has the fields of the contract in its order', async () => {
    const status = JSON.parse((await get('/status')).body ?? '') as Json;
    expect(Object.keys(status)).toEqual([
      'site',
      'peerSite',
      'state',
      'epoch',
      'holder',
      'since',
      'startedAt',
      'version',
      'protocol',
      'ready',
      'readyRead',
      'mayBeStale',
      'durability',
      'load',
      'filestore',
      'store',
      'peerStore',
      'peer',
      'files',
      'database',
      'alarms',
    ]);
    expect(status).toMatchObject({
      site: 'a',
      epoch: 0,
      ready: true,
      durability: 'both',
      load: 0.25,
    });
  });

  test('metrics', async () => {
    await using running = await startMemorySite();
    await running.deposit('counted');
    await running.deposit('refused', { 'content-md5': 'x' });
    const text = await (await fetch(`${running.url}/metrics`)).text();
    expect(text).toContain('twinsite_deposits_total{durability="both"} 1');
    expect(text).toContain('twinsite_deposits_refused_total{code="digest-invalid"} 1');
    expect(text).toContain('twinsite_deposit_seconds_count{durability="both"} 1');
    expect(text).toContain('twinsite_state{state="paired"} 1');
    expect(text).toContain('twinsite_ready 1');
    expect(text).toMatch(
      /twinsite_http_requests_total\{method="POST",route="\/collections\/:collection\/deposits",status="201"\} 1/,
    );
  });

  test('--ops-listen: all of it, from anywhere, and nothing else', async () => {
    const app = createOpsApp(site.deps);
    const from = (url: string) =>
      app.request(url, {}, { remoteAddress: '203.0.113.5', encrypted: false });
    for (const url of ['/livez', '/readyz', '/readyz/read', '/status', '/metrics']) {
      expect((await from(url)).status).toBe(200);
    }
    expect((await from('/deposits')).status).toBe(404);
  });
});

describe("the balancer's line", () => {
  test.each([
    [{ state: 'paired', ready: true, load: 0 }, 'up 100%'],
    [{ state: 'alone', ready: true, load: 0.27 }, 'up 73%'],
    [{ state: 'paired', ready: true, load: 1 }, 'up 1%'],
    [{ state: 'paired', ready: true, load: 7 }, 'up 1%'],
    [{ state: 'draining', ready: false, load: 0 }, 'up 0%'],
    [{ state: 'joining', ready: false, load: 0.5 }, 'up 0%'],
    [{ state: 'failed', ready: false, load: 0 }, 'down'],
  ] as const)('%j: %s', (facts, line) => {
    expect(agentLine(facts)).toBe(line);
  });

  test('over TCP', async () => {
    let load = 0.5;
    const port = Promise.withResolvers<number>();
    await using agent = start(
      createAgentCheck({
        hostname: '127.0.0.1',
        port: 0,
        facts: () => ({ state: 'paired', ready: true, load }),
        onListening: (address) => port.resolve(address.port),
      }),
    );
    await agent.ready;
    const at = await port.promise;
    const ask = (send: string) =>
      new Promise<string>((resolve) => {
        let text = '';
        const socket = net.connect(at, '127.0.0.1', () => socket.write(send));
        socket.on('data', (chunk) => {
          text += chunk;
        });
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(text));
      });
    expect(await ask('')).toBe('up 50%\n');
    load = 0.9;
    expect(await ask('hello\n')).toBe('up 10%\n');
    const second = createAgentCheck({
      hostname: '127.0.0.1',
      port: at,
      facts: () => ({ state: 'paired', ready: true, load: 0 }),
    });
    expect(await failureOf(start(second).ready)).toMatchObject({ code: 'port-in-use' });
  });

  test('load is the worst of loop, CPU and requests, smoothed', async () => {
    expect(nextLoad(0, { lateMs: 200, cpu: 0, inFlight: 0 })).toBeCloseTo(0.3);
    expect(nextLoad(1, { lateMs: 0, cpu: 0, inFlight: 0 })).toBeCloseTo(0.7);
    expect(nextLoad(1, { lateMs: 9999, cpu: 9, inFlight: 9999 })).toBe(1);
    const meter = createLoadMeter({ inFlight: () => 0, cpuMicros: () => 0 });
    await using running = start(meter.service);
    await running.ready;
    expect(meter.load()).toBe(0);
  });
});

describe('listeners', () => {
  const listener = (port: number, extra: Partial<Parameters<typeof createHttpListener>[0]> = {}) =>
    createHttpListener({
      name: 'http',
      flag: '--listen',
      hostname: '127.0.0.1',
      port,
      tls: null,
      fetch: () => new Response('hello'),
      ...extra,
    });

  test('a port in use names the flag and the address', async () => {
    const port = Promise.withResolvers<number>();
    await using first = start(listener(0, { onListening: (a) => port.resolve(a.port) }));
    await first.ready;
    const second = start(listener(await port.promise));
    const failure = await second.ended.catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'port-in-use', kind: 'fatal' });
    expect(String(failure)).toContain(`--listen 127.0.0.1:${await port.promise}`);
    expect(await failureOf(start(listener(1, { hostname: '203.0.113.7' })).ended)).toMatchObject({
      code: 'config',
    });
    const tls = { certFile: '/nonexistent.pem', keyFile: '/nonexistent.pem' };
    expect(await failureOf(start(listener(0, { tls })).ended)).toMatchObject({ code: 'config' });
  });

  test('https with a certificate and key', async () => {
    const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-tls-'));
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      name: 'CN=localhost',
      keys,
      signingAlgorithm: algorithm,
    });
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
    const certFile = path.join(directory, 'cert.pem');
    const keyFile = path.join(directory, 'key.pem');
    await fs.writeFile(certFile, certificate.toString('pem'));
    await fs.writeFile(
      keyFile,
      `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64')}\n-----END PRIVATE KEY-----\n`,
    );
    const port = Promise.withResolvers<number>();
    await using running = start(
      listener(0, {
        tls: { certFile, keyFile },
        onListening: (a) => port.resolve(a.port),
        fetch: (_, connection) => Response.json(connection),
      }),
    );
    await running.ready;
    const url = `https://127.0.0.1:${await port.promise}/`;
    const response = await fetch(url, { tls: { rejectUnauthorized: false } });
    expect(await response.json()).toEqual({ remoteAddress: '127.0.0.1', encrypted: true });
    await fs.rm(directory, { recursive: true });
  });

  test('a stop lets what runs finish, and refuses what comes', async () => {
    const site = createMemorySite();
    const port = Promise.withResolvers<number>();
    const release = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const running = start(
      listener(0, {
        onListening: (a) => port.resolve(a.port),
        fetch: async () => {
          const leave = site.inFlight.enter();
          begun.resolve();
          await release.promise;
          leave();
          return new Response('finished');
        },
      }),
    );
    await running.ready;
    const url = `http://127.0.0.1:${await port.promise}/`;
    const answer = fetch(url).then((response) => response.text());
    await begun.promise;
    const stopped = running[Symbol.asyncDispose]();
    await Bun.sleep(20);
    await failureOf(fetch(url));
    release.resolve();
    expect(await answer).toBe('finished');
    await stopped;
  });
});

describe('the admin socket', () => {
  let directory: string;
  const site = createMemorySite();
  const calls: unknown[] = [];
  const control: SiteControl = {
    async switchover(to) {
      calls.push(['switchover', to]);
      return { holder: site.site, epoch: { number: 2, site: site.site }, tookMs: 12 };
    },
    async drain(wait) {
      calls.push(['drain', wait]);
    },
    async resume() {
      calls.push(['resume']);
    },
  };
  const app = createAdminApp({
    ...site.deps,
    control,
    async sync(below) {
      calls.push(['sync', below]);
      return { ok: true, tookMs: 3 };
    },
  });
  const socketListener = (file: string) =>
    createAdminListener({
      path: file,
      fetch: (request, connection) => app.fetch(request, connection),
    });
  beforeAll(async () => {
    directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-admin-'));
  });
  afterAll(async () => {
    await fs.rm(directory, { recursive: true });
  });
  const asker =
    (file: string) =>
    async (
      method: string,
      url: string,
      body?: unknown,
    ): Promise<{ status: number; body: Json }> => {
      const response = await fetch(`http://twinsite${url}`, {
        unix: file,
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: await response.json() };
    };

  test('serves every route, to its owner only', async () => {
    const file = path.join(directory, 'admin.sock');
    await using running = start(socketListener(file));
    await running.ready;
    expect((await fs.stat(file)).mode & 0o777).toBe(0o600);
    const ask = asker(file);
    expect((await ask('GET', '/status')).body.site).toBe('a');
    expect(await ask('POST', '/collections', { name: 'papers', title: 'P' })).toEqual({
      status: 201,
      body: { name: 'papers', title: 'P' },
    });
    expect((await ask('POST', '/collections', { name: 'papers' })).status).toBe(409);
    expect((await ask('POST', '/collections', { name: '../x' })).status).toBe(400);
    expect((await ask('POST', '/collections/papers', { title: 'Papers' })).body.title).toBe(
      'Papers',
    );
    expect((await ask('POST', '/collections/none', { title: 'x' })).status).toBe(404);
    expect((await ask('GET', '/collections')).body.items).toEqual([
      { name: 'papers', title: 'Papers' },
    ]);
    const made = await ask('POST', '/depositors', {
      name: 'alice',
      collection: 'papers',
      password: 'secret',
    });
    expect([made.status, made.body.name, made.body.token.length]).toEqual([201, 'alice', 43]);
    expect((await ask('POST', '/depositors', { name: 'x', collection: 'none' })).status).toBe(404);
    const granted = await ask('POST', '/depositors/alice/grant', {
      collection: 'papers',
      rights: ['read'],
    });
    expect(granted.body.rights).toEqual({ papers: ['deposit', 'read'] });
    const revoked = await ask('POST', '/depositors/alice/revoke', {
      collection: 'papers',
      rights: ['deposit'],
    });
    expect(revoked.body.rights).toEqual({ papers: ['read'] });
    expect((await ask('POST', '/depositors/alice/disable', {})).body.disabled).toBe(true);
    expect((await ask('POST', '/depositors/alice/enable')).body.disabled).toBe(false);
    expect((await ask('POST', '/depositors/alice/token', {})).body.token).toHaveLength(43);
    expect((await ask('POST', '/depositors/alice/password', { password: 'new' })).status).toBe(200);
    expect((await ask('POST', '/depositors/nobody/token', {})).status).toBe(404);
    expect((await ask('POST', '/admins', { name: 'ops' })).body.token).toHaveLength(43);
    expect((await ask('POST', '/admins/ops/token', {})).body.name).toBe('ops');
    expect((await ask('POST', '/admins/ops/disable', {})).body.disabled).toBe(true);
    const { items } = (await ask('GET', '/depositors')).body;
    expect(items).toEqual([
      { name: 'alice', disabled: false, hasPassword: true, rights: { papers: ['read'] } },
    ]);
    expect((await ask('GET', '/admins')).body.items).toHaveLength(1);
    expect((await ask('POST', '/switchover', { to: 'b' })).body).toEqual({
      holder: 'a',
      epoch: { number: 2, site: 'a' },
      tookMs: 12,
    });
    expect((await ask('POST', '/switchover', { to: 'B!' })).status).toBe(400);
    expect((await ask('POST', '/drain', { wait: true })).body).toEqual({ ok: true });
    expect((await ask('POST', '/resume')).status).toBe(200);
    expect((await ask('POST', '/sync', { path: 'x' })).body).toEqual({ ok: true, tookMs: 3 });
    expect(calls).toEqual([['switchover', 'b'], ['drain', true], ['resume'], ['sync', 'x']]);
    const wrong = await ask('POST', '/drain', { wiat: true });
    expect([wrong.status, wrong.body.code]).toEqual([400, 'bad-request']);
    expect((await ask('DELETE', '/collections')).status).toBe(405);
  });

  test('a stale socket is replaced, a live one and another file are not', async () => {
    const file = path.join(directory, 'stale.sock');
    const left = Bun.spawn([
      process.execPath,
      '-e',
      `Bun.listen({unix: ${JSON.stringify(file)}, socket: {data() {}}}); process.kill(process.pid, 'SIGKILL')`,
    ]);
    await left.exited;
    expect((await fs.stat(file)).isSocket()).toBe(true);
    await using running = start(socketListener(file));
    await running.ready;
    expect(await failureOf(start(socketListener(file)).ended)).toMatchObject({
      code: 'data-locked',
    });
    expect((await asker(file)('GET', '/status')).status).toBe(200);
    const plain = path.join(directory, 'plain');
    await fs.writeFile(plain, 'x');
    expect(await failureOf(start(socketListener(plain)).ended)).toMatchObject({ code: 'config' });
  });

  test('a path longer than an address holds', async () => {
    const deep = path.join(directory, 'd'.repeat(120));
    await fs.mkdir(deep);
    const file = path.join(deep, 'admin.sock');
    await using running = start(socketListener(file));
    await running.ready;
    expect((await fs.stat(file)).mode & 0o777).toBe(0o600);
    const handle = await fs.open(deep);
    expect((await asker(`/proc/self/fd/${handle.fd}/admin.sock`)('GET', '/status')).status).toBe(
      200,
    );
    await handle.close();
  });
});

test('the accounts service reads again when events arrive', async () => {
  const site = createMemorySite();
  const there = createMemorySite({ site: 'b' });
  await using running = start(accountsService(site.accounts, site.catalogue));
  await running.ready;
  await there.accounts.addCollection('papers', null);
  site.catalogue.receiveEvents(await there.catalogue.events(''));
  for (let look = 0; look < 100; look += 1) {
    if ((await site.accounts.current()).collections.has('papers')) break;
    await Bun.sleep(5);
  }
  expect((await site.accounts.current()).collections.has('papers')).toBe(true);
});
