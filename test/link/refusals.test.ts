/** Every way in which two ends cannot come together: one clear line at each end. */
import { afterEach, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import type { AppError } from '../../src/core/errors.ts';
import type { Alarm, Clock } from '../../src/core/ports.ts';
import { parsePeerUrl } from '../../src/link/dialer.ts';
import { checkExpiry } from '../../src/link/expiry.ts';
import { createPair, renewPair } from '../../src/link/pair-maker.ts';
import { systemClock } from '../../src/platform/clock.ts';
import {
  freePort,
  newPair,
  noAlarms,
  parsePair,
  type RunningLink,
  siteName,
  startLink,
  startPair,
  until,
} from './link-pair.ts';

const DAY_MS = 86_400_000;
// Generous: only a broken link takes this long.
setDefaultTimeout(30_000);
const SOON = { timeoutMs: 20_000 };
const identities = await newPair();
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const start = async (...args: Parameters<typeof startLink>) => {
  const link = await startLink(...args);
  closers.push(() => link.stop());
  return link;
};
const portOf = (link: RunningLink) => link.address()?.port ?? 0;
const urlOf = (link: RunningLink) => `https://127.0.0.1:${portOf(link)}`;
const nowhere = async () => `https://127.0.0.1:${await freePort()}`;
const refusalOf = (work: Promise<unknown>) =>
  work.then(
    () => ({ code: 'none', message: '' }),
    (error: AppError) => error,
  );
const failuresOf = (link: RunningLink, level: 'warn' | 'debug' = 'warn') =>
  link.told.filter((line) => line.event === 'link.failed' && line.level === level);
/** The one warning of a link, once it is there. */
const lineOf = async (link: RunningLink) => {
  const [line, ...more] = await until(() => {
    const lines = failuresOf(link);
    return lines.length > 0 ? lines : null;
  });
  expect(more).toEqual([]);
  return line?.fields as { direction: string; address: string; reason: string; text: string };
};
/** Runs long waits a hundred times as fast. */
const hurried: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms >= 1000 ? ms / 100 : ms, signal),
};

/** `b` dials `a`; what both ends tell. */
async function meet(
  forA: Partial<Parameters<typeof startLink>[0]>,
  forB: Partial<Parameters<typeof startLink>[0]>,
) {
  const a = await start({ identity: identities.a, peerUrl: await nowhere(), ...forA });
  const b = await start({ identity: identities.b, peerUrl: urlOf(a), ...forB });
  const error = await refusalOf(b.link.request('any', {}, SOON));
  return { a, b, error };
}

describe('both ends say why', () => {
  test('another pair', async () => {
    const other = await newPair();
    const { a, b, error } = await meet({}, { identity: other.b });
    expect(error.code).toBe('peer-refused');
    const [atA, atB] = [await lineOf(a), await lineOf(b)];
    expect(atA).toMatchObject({ direction: 'inbound', address: '127.0.0.1', reason: 'other-pair' });
    expect(atB).toMatchObject({ direction: 'outbound', address: `127.0.0.1:${portOf(a)}` });
    for (const line of [atA, atB]) expect(line.text).toContain(other.b.pairId);
    expect([a.link.lastHeardMs(), b.link.lastHeardMs()]).toEqual([null, null]);
    expect(b.lastFailure()).toContain(other.b.pairId);
  });

  test('a certificate of another CA with this pair’s id', async () => {
    const other = await newPair();
    const thief = { ...other.b, pairId: identities.b.pairId };
    const { a, b } = await meet({}, { identity: thief });
    expect(await lineOf(a)).toMatchObject({ reason: 'other-ca' });
    expect((await lineOf(b)).text).toContain('not of the pair of site a');
  });

  test('a listener of another CA is refused by the dialer', async () => {
    const other = await newPair();
    // It trusts everything of b, but cannot show what b trusts.
    const thief = {
      ...other.a,
      pairId: identities.a.pairId,
      caCertificates: identities.a.caCertificates,
      receiptPublicKeys: identities.a.receiptPublicKeys,
    };
    const { a, b, error } = await meet({ identity: thief }, {});
    expect(error.code).toBe('peer-refused');
    expect(await lineOf(b)).toMatchObject({ direction: 'outbound', reason: 'other-ca' });
    expect((await lineOf(a)).text).toContain('not of the pair');
    expect(b.link.lastHeardMs()).toBeNull();
  });

  test('an expired certificate', async () => {
    const old = await newPair(Date.now() - 21 * 365 * DAY_MS);
    const { a, b } = await meet({}, { identity: { ...old.b, pairId: identities.b.pairId } });
    expect(await lineOf(a)).toMatchObject({ reason: 'certificate' });
    for (const link of [a, b]) {
      expect((await lineOf(link)).text).toContain('the certificate of b expired');
      expect((await lineOf(link)).text).toContain('--renew');
    }
  });

  test('the wrong site', async () => {
    const { a, b } = await meet({ identity: { ...identities.a, peer: siteName('c') } }, {});
    expect((await lineOf(a)).reason).toBe('wrong-site');
    for (const link of [a, b])
      expect((await lineOf(link)).text).toContain('site a expects site c, not b');
  });

  test('its own identity', async () => {
    const port = await freePort();
    const a = await start({
      identity: identities.a,
      peerUrl: `https://127.0.0.1:${port}`,
      listen: { host: '127.0.0.1', port },
    });
    expect((await refusalOf(a.link.request('any', {}, SOON))).code).toBe('peer-refused');
    await until(() => failuresOf(a).length === 2);
    for (const line of failuresOf(a))
      expect(line.fields['text']).toContain('site a met its own identity');
  });

  test('a protocol two away names the older site', async () => {
    const { a, b } = await meet({ protocol: 1 }, { protocol: 3 });
    for (const link of [a, b]) expect((await lineOf(link)).text).toContain('update site a');
  });

  test('a protocol one away is accepted', async () => {
    const { a, error } = await meet({ protocol: 1 }, { protocol: 2 });
    expect(error.code).toBe('not-found');
    expect(failuresOf(a)).toEqual([]);
  });
});

describe('strangers at the listener', () => {
  const answerOf = (port: number, write: string) =>
    new Promise<void>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => socket.write(write));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
      socket.resume();
    });

  test('no certificate', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere() });
    const socket = tls.connect({ port: portOf(a), host: '127.0.0.1', rejectUnauthorized: false });
    const told: Buffer[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.on('data', (bytes: Buffer) => told.push(bytes));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
    // A hello must come first; any will do.
    socket.write(Buffer.from([0, 0, 0, 2, 1, 0x7b, 0x7d]));
    await promise;
    expect((await lineOf(a)).reason).toBe('no-certificate');
    expect(Buffer.concat(told).toString()).toContain('no certificate of the pair');
    expect(a.link.lastHeardMs()).toBeNull();
  });

  test('plain HTTP, once told however often it comes', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere() });
    for (let round = 0; round < 3; round += 1) await answerOf(portOf(a), 'GET / HTTP/1.1\r\n\r\n');
    expect((await lineOf(a)).text).toContain('plain HTTP');
    expect(failuresOf(a, 'debug')).toHaveLength(2);
  });

  test('a known certificate that sends rubbish for a hello, or an exchange before it', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere() });
    for (const bytes of [
      [0, 0, 0, 2, 1, 0x7b, 0x7d],
      [0, 0, 0, 0, 9],
      [255, 255, 255, 255, 6],
      [0, 0, 0, 2, 3, 0x7b, 0x7d],
    ])
      await new Promise<void>((resolve) => {
        const socket = tls.connect({
          port: portOf(a),
          host: '127.0.0.1',
          key: identities.b.tlsKey,
          cert: identities.b.tlsCertificate,
          ca: [...identities.b.caCertificates],
          checkServerIdentity: () => undefined,
        });
        socket.on('secureConnect', () => socket.write(new Uint8Array(bytes)));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
        socket.resume();
      });
    await until(() => failuresOf(a).length + failuresOf(a, 'debug').length === 4);
    expect(a.link.lastHeardMs()).toBeNull();
  });

  test('one that says nothing is cut in time', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere(), clock: hurried });
    const socket = tls.connect({
      port: portOf(a),
      host: '127.0.0.1',
      key: identities.b.tlsKey,
      cert: identities.b.tlsCertificate,
      rejectUnauthorized: false,
    });
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    socket.resume();
    await closed;
    expect((await lineOf(a)).reason).toBe('hello-timeout');
  });
});

describe('dialing', () => {
  test('nobody listens: told once, then at debug; recovery is told; and the peer returns', async () => {
    const port = await freePort();
    const b = await start({ identity: identities.b, peerUrl: `https://127.0.0.1:${port}` });
    expect((await refusalOf(b.link.request('any', {}, SOON))).code).toBe('peer-unreachable');
    await Bun.sleep(250);
    await refusalOf(b.link.request('any', {}, SOON));
    expect(await lineOf(b)).toMatchObject({ reason: 'refused', address: `127.0.0.1:${port}` });
    expect(failuresOf(b, 'debug')).toHaveLength(1);
    await Bun.sleep(250);
    const a = await start({
      identity: identities.a,
      peerUrl: urlOf(b),
      listen: { host: '127.0.0.1', port },
    });
    a.link.answer('ok', async () => true);
    expect(await b.link.request('ok', {}, SOON)).toBe(true);
    const recovered = b.told.find((line) => line.event === 'link.recovered');
    expect(recovered).toMatchObject({ level: 'info', fields: { failures: 2 } });
    expect(b.lastFailure()).toBeNull();
  });

  test('something else listens there', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('220 mail.example ready\r\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
    closers.push(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const b = await start({ identity: identities.b, peerUrl: `https://127.0.0.1:${port}` });
    expect((await refusalOf(b.link.request('any', {}, SOON))).message).toContain('TLS failed');
    expect((await lineOf(b)).reason).toBe('tls');
  });

  test('a host that takes the connection and is silent is a timeout', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      closers.push(() => socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
    closers.push(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const peerUrl = `https://127.0.0.1:${port}`;
    const b = await start({ identity: identities.b, peerUrl, clock: hurried });
    // The opener's own deadline comes first; the dial goes on to its own.
    expect((await refusalOf(b.link.request('any', {}, { timeoutMs: 5 }))).code).toBe(
      'peer-timeout',
    );
    expect((await lineOf(b)).reason).toBe('timeout');
  });

  test('a name that does not resolve: told, and the last good address is tried', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere() });
    a.link.answer('ok', async () => true);
    const peerUrl = `https://no-such-host.invalid:${portOf(a)}`;
    const b = await start({ identity: identities.b, peerUrl });
    expect((await refusalOf(b.link.request('ok', {}, SOON))).code).toBe('peer-unreachable');
    expect(await lineOf(b)).toMatchObject({ reason: 'dns' });
    expect((await lineOf(b)).text).toContain('no-such-host.invalid cannot be resolved');

    const dataDir = await mkdtemp(path.join(os.tmpdir(), 'twinsite-link-'));
    closers.push(() => rm(dataDir, { recursive: true, force: true }));
    const remembered = {
      pairId: identities.b.pairId,
      startCounter: 1,
      instanceId: 'instance-0',
      address: { host: 'no-such-host.invalid', ip: '127.0.0.1' },
    };
    await writeFile(path.join(dataDir, 'peer-start.json'), JSON.stringify(remembered));
    const later = { startCounter: 2000, instanceId: 'instance-later' };
    const again = await start({ identity: identities.b, peerUrl, dataDir, ...later });
    expect(await again.link.request('ok', {}, SOON)).toBe(true);
  });

  test('addresses as people write them', () => {
    const parts = (text: string) => {
      const address = parsePeerUrl(text);
      return address ? [address.host, address.port] : null;
    };
    expect(parts('https://h')).toEqual(['h', 7443]);
    expect(parts('https://h:443/')).toEqual(['h', 443]);
    expect(parts('https://[::1]:7000')).toEqual(['::1', 7000]);
    expect(parts('https://[::1]')).toEqual(['::1', 7443]);
    expect(parts('http://h:1')).toBeNull();
    expect(parts('h:1')).toBeNull();
  });
});

describe('clones', () => {
  test('a later start replaces the earlier one, which is then refused as a copy', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere() });
    a.link.answer('ok', async () => true);
    const as = (startCounter: number, instanceId: string) =>
      start({ identity: identities.b, peerUrl: urlOf(a), startCounter, instanceId });
    const first = await as(100, 'instance-first');
    expect(await first.link.request('ok', {}, SOON)).toBe(true);
    const restarted = await as(101, 'instance-restarted');
    expect(await restarted.link.request('ok', {}, SOON)).toBe(true);
    // The first one's connection was cut; it cannot come back.
    const refused = await refusalOf(
      first.link.request('ok', {}, SOON).then(() => first.link.request('ok', {}, SOON)),
    );
    expect(['peer-refused', 'peer-unreachable']).toContain(refused.code);
    await refusalOf(first.link.request('ok', {}, SOON));
    expect((await lineOf(first)).text).toContain('in use by another machine');
    expect(await lineOf(a)).toMatchObject({ direction: 'inbound', reason: 'clone' });
    const twin = await as(101, 'instance-twin');
    expect((await refusalOf(twin.link.request('ok', {}, SOON))).code).toBe('peer-refused');
    expect(await restarted.link.request('ok', {}, SOON)).toBe(true);
  });

  test('it is remembered across a restart of the one who refuses', async () => {
    const dataDir = await mkdtemp(path.join(os.tmpdir(), 'twinsite-link-'));
    closers.push(() => rm(dataDir, { recursive: true, force: true }));
    const before = await startLink({ identity: identities.a, peerUrl: await nowhere(), dataDir });
    const b = await start({ identity: identities.b, peerUrl: urlOf(before), startCounter: 50 });
    expect((await refusalOf(b.link.request('x', {}, SOON))).code).toBe('not-found');
    await before.stop();
    const a = await start({ identity: identities.a, peerUrl: await nowhere(), dataDir });
    const old = await start({ identity: identities.b, peerUrl: urlOf(a), startCounter: 49 });
    expect((await refusalOf(old.link.request('x', {}, SOON))).message).toContain('another machine');
    // The listener's start is checked by the dialer just so.
    const dialing = await start({ identity: identities.a, peerUrl: urlOf(old), dataDir });
    expect((await refusalOf(dialing.link.request('x', {}, SOON))).message).toContain(
      'another machine',
    );
    expect((await lineOf(old)).text).toContain('another machine');
  });
});

describe('renewing', () => {
  test('old and new identities work together, whoever is first and whoever dials', async () => {
    const sites = {
      a: { site: siteName('a'), url: 'https://h1' },
      b: { site: siteName('b'), url: 'https://h2' },
    };
    const old = parsePair(await createPair(sites));
    const fresh = parsePair(await renewPair(old.a, old.b));
    for (const mix of [
      { a: fresh.a, b: old.b },
      { a: old.a, b: fresh.b },
      { a: fresh.a, b: fresh.b },
    ]) {
      const pair = await startPair(mix);
      closers.push(pair.stop);
      pair.a.link.answer('ok', async () => 'a');
      pair.b.link.answer('ok', async () => 'b');
      expect(await pair.a.link.request('ok', {}, SOON)).toBe('b');
      expect(await pair.b.link.request('ok', {}, SOON)).toBe('a');
    }
  });
});

describe('the service', () => {
  test('a port in use and one without the right are told with the flag’s name', async () => {
    const a = await start({ identity: identities.a, peerUrl: await nowhere() });
    const listen = { host: '127.0.0.1', port: portOf(a) };
    const taken = await refusalOf(startLink({ identity: identities.a, listen }));
    expect(taken).toMatchObject({ code: 'port-in-use', kind: 'fatal' });
    expect(taken.message).toContain('--peer-listen');
    const foreign = { host: '192.0.2.1', port: 7443 };
    const config = await refusalOf(startLink({ identity: identities.a, listen: foreign }));
    expect(config).toMatchObject({ code: 'config' });
  });

  test('before it runs and after it stopped nothing is opened', async () => {
    const pair = await startPair(identities);
    pair.b.link.answer('ok', async () => true);
    expect(await pair.a.link.request('ok', {}, SOON)).toBe(true);
    await pair.stop();
    expect((await refusalOf(pair.a.link.request('ok', {}, SOON))).code).toBe('peer-unreachable');
    expect(pair.a.address()).toBeNull();
  });

  test('a process that stopped its links has nothing left that keeps it alive', async () => {
    const script = `
      const { startPair } = await import('${path.join(import.meta.dir, 'link-pair.ts')}');
      const pair = await startPair();
      pair.b.link.serve('hang', async (exchange, signal) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      });
      pair.a.link.answer('ok', async () => true);
      await pair.b.link.request('ok', {}, { timeoutMs: 5000 });
      await pair.a.link.open('hang', {}, { timeoutMs: 5000 });
      await pair.stop();
      console.log('stopped');`;
    const child = Bun.spawn([process.execPath, '-e', script], {
      stdout: 'pipe',
      stderr: 'inherit',
    });
    const timer = setTimeout(() => child.kill(), 25_000);
    expect((await new Response(child.stdout).text()).trim()).toBe('stopped');
    expect(await child.exited).toBe(0);
    clearTimeout(timer);
  });

  test('the certificate’s end is a gauge, and an alarm in the last 60 days', () => {
    const raised: Alarm[] = [];
    const cleared: string[] = [];
    const alarms = {
      ...noAlarms,
      raise: (alarm: Alarm) => void raised.push(alarm),
      clear: (code: string) => void cleared.push(code),
    };
    const gauges: number[] = [];
    const metrics = {
      count: () => undefined,
      observe: () => undefined,
      gauge: (_name: string, _help: string, value: number) => void gauges.push(value),
    };
    const end = Date.parse('2040-01-01T00:00:00Z');
    const identity = { site: siteName('a'), certificateExpiresAt: '2040-01-01T00:00:00.000Z' };
    for (const days of [61, 59, 5, -1]) checkExpiry(identity, end - days * DAY_MS, metrics, alarms);
    expect(gauges).toEqual([61, 59, 5, -1].map((days) => days * 86_400));
    expect(cleared).toEqual(['identity-expires']);
    expect(raised.map((alarm) => alarm.severity)).toEqual(['warning', 'critical', 'critical']);
    expect(raised[2]?.text).toContain('has expired');
  });
});
