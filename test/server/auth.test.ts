/** Logins of every kind, what they open, and what proxies may say about them. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { parseCidr } from '../../src/core/client-address.ts';
import type { Clock } from '../../src/core/ports.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { parseCredentials } from '../../src/server/auth/credentials.ts';
import { createPasswordVerifier, hashPassword } from '../../src/server/auth/passwords.ts';
import { failureOf } from '../support/failure-of.ts';
import { createMemorySite, type RunningSite, startMemorySite } from '../support/memory-site.ts';

const basic = (user: string, password: string, encoding: BufferEncoding = 'utf8') =>
  `Basic ${Buffer.from(`${user}:${password}`, encoding).toString('base64')}`;

let site: RunningSite;
let admin: string;
beforeAll(async () => {
  site = await startMemorySite();
  admin = (await site.accounts.addAdmin('ops')).token;
});
afterAll(async () => {
  await site[Symbol.asyncDispose]();
});
const statusWith = async (authorization: string | null, path = '/collections/papers') =>
  (await fetch(`${site.url}${path}`, authorization === null ? {} : { headers: { authorization } }))
    .status;

describe('credentials', () => {
  test.each(['pa:ss:word', 'mit € und ü', ' spaces ', 'x'.repeat(1024), '"\'\\'])(
    'password %j',
    async (password) => {
      await site.accounts.setPassword('alice', password);
      expect(await statusWith(basic('alice', password))).toBe(200);
      expect(await statusWith(basic('alice', `${password}!`))).toBe(401);
      expect(await statusWith(basic('bob', password))).toBe(401);
    },
  );

  test('a Latin-1 client', async () => {
    await site.accounts.setPassword('alice', 'grün');
    expect(await statusWith(basic('alice', 'grün', 'latin1'))).toBe(200);
  });

  test('the token: bearer, password of its name, user name without password', async () => {
    for (const good of [
      `Bearer ${site.token}`,
      `bearer ${site.token}`,
      basic('alice', site.token),
      basic(site.token, ''),
    ]) {
      expect(await statusWith(good)).toBe(200);
    }
    for (const bad of [
      null,
      '',
      'Bearer',
      'Bearer x',
      'Digest abc',
      'Basic !!!',
      'Basic YWxpY2U=',
      basic('alice', ''),
      basic('', site.token),
      basic('mallory', site.token),
      `Bearer ${site.token}x`,
      `Bearer ${'x'.repeat(5000)}`,
    ]) {
      expect([bad, await statusWith(bad)]).toEqual([bad, 401]);
    }
  });

  test('one more token; disabled and enabled again', async () => {
    const { token } = await site.accounts.newToken('depositor', 'alice');
    expect(await statusWith(`Bearer ${token}`)).toBe(200);
    expect(await statusWith(`Bearer ${site.token}`)).toBe(200);
    await site.accounts.setDisabled('depositor', 'alice', true);
    expect(await statusWith(`Bearer ${token}`)).toBe(401);
    await site.accounts.setDisabled('depositor', 'alice', false);
    expect(await statusWith(`Bearer ${token}`)).toBe(200);
  });

  test('an account made at the other site a moment ago works at once', async () => {
    const there = createMemorySite({ site: 'b' });
    await there.accounts.addCollection('elsewhere', null);
    const { token } = await there.accounts.addDepositor('newcomer', 'elsewhere');
    expect(await statusWith(`Bearer ${token}`, '/collections/elsewhere')).toBe(401);
    site.catalogue.receiveEvents(await there.catalogue.events(''));
    expect(await statusWith(`Bearer ${token}`, '/collections/elsewhere')).toBe(200);
    await there.accounts.grant('newcomer', 'elsewhere', ['read']);
    site.catalogue.receiveEvents(await there.catalogue.events(''));
  });

  test('without the database: known tokens work, unknown ones are 503, not 401', async () => {
    site.catalogue.isDown = true;
    try {
      expect(await statusWith(`Bearer ${site.token}`, '/collections')).toBe(200);
      expect(await statusWith('Bearer unknown', '/collections')).toBe(503);
    } finally {
      site.catalogue.isDown = false;
    }
  });

  test('parsing never takes half a header', () => {
    expect(parseCredentials('Basic YTpi')).toEqual({ scheme: 'basic', user: 'a', password: 'b' });
    expect(parseCredentials('Basic YTpi extra')).toBeNull();
    expect(parseCredentials('Bearer a b')).toBeNull();
  });
});

describe('the password verifier', () => {
  const key = new Uint8Array(32);

  test('remembers what was right for a while, never what was wrong', async () => {
    let now = 0;
    const clock: Clock = { ...systemClock, monotonicMs: () => now };
    let checks = 0;
    const verify = async (password: string) => {
      checks += 1;
      return password === 'right';
    };
    const verifier = createPasswordVerifier({ clock, key, verify, cacheMs: 60_000 });
    expect(await verifier.verify('alice', 'right', 'hash')).toBe(true);
    expect(await verifier.verify('alice', 'right', 'hash')).toBe(true);
    expect(checks).toBe(1);
    expect(await verifier.verify('alice', 'right', 'another hash')).toBe(true);
    expect(await verifier.verify('bob', 'right', 'hash')).toBe(true);
    expect(checks).toBe(3);
    now = 60_001;
    await verifier.verify('alice', 'right', 'hash');
    expect(checks).toBe(4);
    await verifier.verify('alice', 'wrong', 'hash');
    await verifier.verify('alice', 'wrong', 'hash');
    expect(checks).toBe(6);
  });

  test('runs few at once, shares equal ones, and turns away beyond its queue', async () => {
    const release = Promise.withResolvers<boolean>();
    let running = 0;
    let most = 0;
    const verify = async () => {
      running += 1;
      most = Math.max(most, running);
      await release.promise;
      running -= 1;
      return true;
    };
    const verifier = createPasswordVerifier({
      clock: systemClock,
      key,
      verify,
      concurrency: 2,
      maxWaiting: 3,
    });
    const waiting = Array.from({ length: 5 }, (_, n) => verifier.verify('alice', `p${n}`, 'h'));
    const shared = verifier.verify('alice', 'p0', 'h');
    expect(await failureOf(verifier.verify('alice', 'p9', 'h'))).toMatchObject({
      code: 'not-ready',
    });
    release.resolve(true);
    expect((await Promise.all([...waiting, shared])).every(Boolean)).toBe(true);
    expect(most).toBe(2);
  });

  test('argon2id it is, and empty or endless passwords are refused', async () => {
    expect(await hashPassword('x')).toStartWith('$argon2id$');
    expect(await failureOf(hashPassword(''))).toMatchObject({ code: 'bad-request' });
    expect(await failureOf(hashPassword('x'.repeat(1025)))).toMatchObject({ code: 'bad-request' });
  });
});

describe('operations pages', () => {
  const from = (path: string, remoteAddress: string, headers: Record<string, string> = {}) =>
    site.app.request(path, { headers }, { remoteAddress, encrypted: false });

  test('from loopback free, from afar for administrators, through a proxy never for free', async () => {
    for (const path of ['/status', '/metrics']) {
      expect((await from(path, '127.0.0.1')).status).toBe(200);
      expect((await from(path, '::1')).status).toBe(200);
      expect((await from(path, '::ffff:127.0.0.1')).status).toBe(200);
      expect((await from(path, '203.0.113.5')).status).toBe(401);
      for (const header of ['x-forwarded-for', 'forwarded', 'via', 'x-real-ip']) {
        expect((await from(path, '127.0.0.1', { [header]: '127.0.0.1' })).status).toBe(401);
      }
      const as = (token: string) => ({ authorization: `Bearer ${token}` });
      expect((await from(path, '203.0.113.5', as(admin))).status).toBe(200);
      expect((await from(path, '203.0.113.5', as(site.token))).status).toBe(403);
    }
    for (const path of ['/livez', '/readyz', '/readyz/read', '/']) {
      expect((await from(path, '203.0.113.5')).status).toBe(200);
    }
  });

  test('collections: made by administrators, seen by those with rights', async () => {
    const put = (token: string, body: string) =>
      fetch(`${site.url}/collections/made`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${token}` },
        body,
      });
    expect((await put(site.token, '{}')).status).toBe(403);
    expect((await put(admin, '{"title":"Made"}')).status).toBe(201);
    const again = await put(admin, '{"title":"Made again"}');
    expect([again.status, await again.json()]).toEqual([
      200,
      { name: 'made', title: 'Made again', rights: ['read'] },
    ]);
    expect((await put(admin, '{"titel":"x"}')).status).toBe(400);
    expect((await put(admin, '{')).status).toBe(400);
    expect((await put(admin, `{"title":"${'x'.repeat(70_000)}"}`)).status).toBe(413);
    expect(await statusWith(`Bearer ${site.token}`, '/collections/made')).toBe(404);
    const mine = await fetch(`${site.url}/collections`, { headers: site.auth() });
    expect(await mine.json()).toEqual({
      items: [{ name: 'papers', title: 'Papers', rights: ['deposit'] }],
      next: null,
    });
    expect((await fetch(`${site.url}/collections`)).status).toBe(401);
  });
});

describe('credentials in clear', () => {
  const proxies = [parseCidr('10.0.0.0/8')].filter((cidr) => cidr !== null);
  const ask = async (
    on: ReturnType<typeof createMemorySite>,
    remoteAddress: string,
    headers: Record<string, string> = {},
    encrypted = false,
  ) => {
    const { token } = await on.accounts.newToken('admin', 'ops');
    return on.app.request(
      '/collections',
      { headers: { authorization: `Bearer ${token}`, ...headers } },
      { remoteAddress, encrypted },
    );
  };
  const make = async (requireTls: boolean) => {
    const made = createMemorySite({ settings: { requireTls, trustedProxies: proxies } });
    await made.accounts.addAdmin('ops');
    return made;
  };

  test('raise one alarm, or are refused with --require-tls', async () => {
    const lenient = await make(false);
    const strict = await make(true);
    expect((await ask(lenient, '203.0.113.5')).status).toBe(200);
    expect(lenient.alarms.list().map((alarm) => alarm.code)).toEqual(['credentials-in-clear']);
    const refused = await ask(strict, '203.0.113.5');
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([
      403,
      'tls-required',
    ]);
    expect((await ask(strict, '203.0.113.5', { 'x-forwarded-proto': 'https' })).status).toBe(403);
    expect((await ask(strict, '10.1.2.3', { 'x-forwarded-proto': 'http' })).status).toBe(403);
    expect((await ask(strict, '10.1.2.3', { forwarded: 'for=192.0.2.1;proto=http' })).status).toBe(
      403,
    );
  });

  test('are none over TLS, from loopback, or through a trusted proxy that says https', async () => {
    const strict = await make(true);
    expect((await ask(strict, '203.0.113.5', {}, true)).status).toBe(200);
    expect((await ask(strict, '127.0.0.1')).status).toBe(200);
    expect((await ask(strict, '10.1.2.3', { 'x-forwarded-proto': 'https' })).status).toBe(200);
    expect((await ask(strict, '10.1.2.3')).status).toBe(200);
    expect(strict.alarms.list()).toEqual([]);
  });
});
