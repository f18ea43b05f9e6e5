/** Reading: receipts, files in parts, lists, and what strangers see. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { randomBytes } from 'node:crypto';
import type { DepositRecord } from '../../src/core/deposit.ts';
import { AppError } from '../../src/core/errors.ts';
import type { DepositId } from '../../src/core/ids.ts';
import { digests, type RunningSite, startMemorySite } from '../support/memory-site.ts';
import { rawRequest } from '../support/raw-http.ts';

// biome-ignore lint/suspicious/noExplicitAny: documents of the outside, looked at field by field
type Json = any;

let site: RunningSite;
let mallory: string;
let reader: string;
beforeAll(async () => {
  site = await startMemorySite();
  mallory = (await site.accounts.addDepositor('mallory', 'papers')).token;
  reader = (await site.accounts.addDepositor('reader', 'papers')).token;
  await site.accounts.grant('reader', 'papers', ['read']);
});
afterAll(async () => {
  await site[Symbol.asyncDispose]();
});

async function deposit(body: string | Uint8Array, headers: Record<string, string> = {}) {
  const response = await site.deposit(body, {
    'content-disposition': 'filename=file.bin',
    ...headers,
  });
  return (await response.json()) as Json;
}
const get = (path: string, headers: Record<string, string> = {}, token = site.token) =>
  fetch(`${site.url}${path}`, { headers: { authorization: `Bearer ${token}`, ...headers } });

describe('a file', () => {
  const body = new Uint8Array(randomBytes(10_000));
  let href: string;
  beforeAll(async () => {
    href = (await deposit(body, { 'content-type': 'text/html' })).files[0].href;
  });

  test('comes with its type, digest and entity tag, and is never run as a page', async () => {
    const response = await get(href);
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(body);
    const headers = Object.fromEntries(response.headers);
    expect(headers).toMatchObject({
      'content-type': 'text/html',
      'content-length': '10000',
      'content-disposition': 'attachment; filename=file.bin',
      etag: `"${digests(body).sha256}"`,
      'repr-digest': `sha-256=:${digests(body).sha256Base64}:`,
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
    });
    expect(headers['content-security-policy']).toContain('sandbox');
  });

  test.each([
    ['bytes=0-0', 0, 0],
    ['bytes=100-199', 100, 199],
    ['bytes=9990-', 9990, 9999],
    ['bytes=-10', 9990, 9999],
    ['bytes=-99999', 0, 9999],
    ['bytes=9999-123456789', 9999, 9999],
    ['Bytes = 5 - 6', 5, 6],
  ])('%s is a part', async (range, start, end) => {
    const response = await get(href, { range });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end}/10000`);
    expect(response.headers.get('content-length')).toBe(String(end - start + 1));
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(body.slice(start, end + 1));
  });

  test.each([
    'bytes=5-2',
    'bytes=-',
    'bytes=a-b',
    'items=0-1',
    'bytes=0-1,5-6',
    'bytes',
    'bytes=1.5-2',
  ])('%s is ignored', async (range) => {
    const response = await get(href, { range });
    expect([response.status, (await response.arrayBuffer()).byteLength]).toEqual([200, 10_000]);
  });

  test.each(['bytes=10000-', 'bytes=99999-100000', 'bytes=-0'])('%s: 416', async (range) => {
    const response = await get(href, { range });
    expect(response.status).toBe(416);
    expect(response.headers.get('content-range')).toBe('bytes */10000');
    expect(((await response.json()) as Json).code).toBe('range-not-satisfiable');
  });

  test('If-None-Match and If-Range', async () => {
    const etag = `"${digests(body).sha256}"`;
    for (const tag of [etag, `W/${etag}`, '*', `"x", ${etag}`]) {
      const response = await get(href, { 'if-none-match': tag });
      expect([response.status, response.headers.get('etag')]).toEqual([304, etag]);
    }
    expect((await get(href, { 'if-none-match': '"x"' })).status).toBe(200);
    const range = 'bytes=0-9';
    expect((await get(href, { range, 'if-range': etag })).status).toBe(206);
    for (const other of ['"x"', `W/${etag}`, 'Mon, 23 Nov 2026 01:22:39 GMT']) {
      expect((await get(href, { range, 'if-range': other })).status).toBe(200);
    }
  });

  test('HEAD tells the length and reads nothing', async () => {
    const head = await rawRequest(site.port, [
      `HEAD ${href} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${site.token}\r\n\r\n`,
    ]);
    expect([head.status, head.body]).toEqual([200, '']);
    expect(head.head.toLowerCase()).toContain('content-length: 10000');
    expect(site.bytes.reading.size).toBe(0);
  });

  test('of zero bytes', async () => {
    const empty = (await deposit('')).files[0].href;
    const response = await get(empty);
    expect([response.status, await response.text()]).toEqual([200, '']);
    expect((await get(empty, { range: 'bytes=0-' })).status).toBe(416);
  });
});

describe('a large file', () => {
  const body = new Uint8Array(randomBytes(9_500_000));
  let href: string;
  beforeAll(async () => {
    href = (await deposit(body)).files[0].href;
  });
  const ended = async () => {
    for (let look = 0; look < 200 && site.bytes.reading.size > 0; look += 1) await Bun.sleep(10);
    expect(site.bytes.reading.size).toBe(0);
    for (let look = 0; look < 200 && site.inFlight.inFlight() > 0; look += 1) await Bun.sleep(10);
    expect(site.inFlight.inFlight()).toBe(0);
  };

  test('streams whole and in part', async () => {
    expect(new Uint8Array(await (await get(href)).arrayBuffer())).toEqual(body);
    const part = await get(href, { range: 'bytes=1000-8000000' });
    expect(part.status).toBe(206);
    expect(new Uint8Array(await part.arrayBuffer())).toEqual(body.slice(1000, 8_000_001));
    await ended();
  });

  test('is let go when the reader leaves', async () => {
    await rawRequest(
      site.port,
      [`GET ${href} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\n\r\n`, 50],
      { destroyAfter: true },
    );
    await ended();
  });

  test('that breaks on the way breaks the connection, never a short file', async () => {
    const read = site.bytes.read;
    site.bytes.read = async () =>
      (async function* () {
        yield body.subarray(0, 5_000_000);
        throw new AppError('content-unavailable', 'gone');
      })();
    const answer = await rawRequest(site.port, [
      `GET ${href} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${site.token}\r\n\r\n`,
    ]);
    site.bytes.read = read;
    expect(answer.status).toBe(200);
    expect(answer.body.endsWith('0\r\n\r\n')).toBe(false);
    await ended();
  });
});

test('bytes that nowhere reachable: 503 that says where, never a 404', async () => {
  for (const size of [100, 3_000_000]) {
    const receipt = await deposit(new Uint8Array(randomBytes(size)));
    site.bytes.files.delete(receipt.files[0].path);
    const response = await get(receipt.files[0].href);
    const problem = (await response.json()) as Json;
    expect([response.status, problem.code]).toEqual([503, 'content-unavailable']);
    expect(problem.detail).toContain('site b');
    expect(response.headers.get('retry-after')).toBe('2');
  }
});

describe('who sees what', () => {
  test('own deposits and granted collections; everything else is 404', async () => {
    const receipt = await deposit('private');
    const { self, files, events } = receipt.links;
    for (const path of [self, files, events, receipt.files[0].href]) {
      expect((await get(path)).status).toBe(200);
      expect((await get(path, {}, reader)).status).toBe(200);
      expect((await get(path, {}, mallory)).status).toBe(404);
      expect((await fetch(`${site.url}${path}`)).status).toBe(401);
    }
    expect((await get(`${self}/files/other`)).status).toBe(404);
    expect((await get('/deposits/not-a-uuid')).status).toBe(404);
    expect((await get('/deposits/00000000-0000-7000-8000-000000000000')).status).toBe(404);
    expect((await get(self.toUpperCase().replace('DEPOSITS', 'deposits'))).status).toBe(200);
  });

  test('lists: filters, pages, and nothing of others', async () => {
    await using own = await startMemorySite();
    const other = (await own.accounts.addDepositor('other', 'papers')).token;
    const at = (path: string, token = own.token) =>
      fetch(`${own.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
    const list = async (query: string, token = own.token) =>
      (await (await at(`/deposits${query}`, token)).json()) as Json;
    for (const name of ['one', 'two', 'three']) {
      await own.deposit(name, { 'content-disposition': `filename=${name}` });
    }
    const names = (page: Json) => page.items.map((item: Json) => item.files[0].name);
    expect(names(await list(''))).toEqual(['three', 'two', 'one']);
    expect(names(await list('?name=two'))).toEqual(['two']);
    expect(names(await list(`?digest=${digests('one').sha256.toUpperCase()}`))).toEqual(['one']);
    expect(names(await list('?until=2020-01-01'))).toEqual([]);
    const first = await list('?limit=2');
    expect([names(first), typeof first.next]).toEqual([['three', 'two'], 'string']);
    const rest = await list(`?limit=2&cursor=${first.next}`);
    expect([names(rest), rest.next]).toEqual([['one'], null]);
    expect(names(await list('?depositor=alice', other))).toEqual([]);
    for (const query of [
      '?limit=0',
      '?limit=1e9',
      '?limit=201',
      '?digest=zz',
      '?from=yesterday',
      '?from=2026-99-99',
      '?collecton=papers',
      '?collection=../x',
      '?state=lost',
      '?cursor=zzz',
    ]) {
      const response = await at(`/deposits${query}`);
      expect([query, response.status]).toEqual([query, 400]);
    }
  });
});

describe('what only the other site knows', () => {
  const id = '01890a5d-ac96-774b-bcce-b302099a8057' as DepositId;

  test('is asked there before 404, and read through', async () => {
    await using there = await startMemorySite({ site: 'b', peer: 'a' });
    const asked: string[] = [];
    let reachable = true;
    await using here = await startMemorySite({
      lookupAtPeer: {
        async byId(wanted) {
          asked.push(wanted);
          if (!reachable) throw new AppError('peer-unreachable', 'The link is cut.');
          return there.catalogue.find(wanted);
        },
        byKey: (keyDigest) => there.catalogue.findByKey(keyDigest),
      },
    });
    here.facts.caughtUp = false;
    const theirs = (await (
      await there.deposit('taken at b', { 'idempotency-key': 'k' })
    ).json()) as Json;
    const seen = await fetch(`${here.url}/deposits/${theirs.id}`, { headers: here.auth() });
    expect([seen.status, await seen.json()]).toEqual([200, theirs]);
    const again = await here.deposit('taken at b', { 'idempotency-key': 'k' });
    expect([again.status, again.headers.get('idempotent-replay')]).toEqual([201, 'true']);
    expect((await here.deposit('other', { 'idempotency-key': 'k' })).status).toBe(422);
    expect(here.catalogue.depositCount).toBe(0);
    const unknown = () => fetch(`${here.url}/deposits/${id}`, { headers: here.auth() });
    expect((await unknown()).status).toBe(404);
    expect(asked).toContain(id);
    reachable = false;
    const cut = await unknown();
    expect([cut.status, ((await cut.json()) as Json).code]).toEqual([503, 'peer-unreachable']);
    expect(cut.headers.get('retry-after')).toBe('5');
  });

  test('a record from there is `both` as soon as its bytes are here', async () => {
    await using there = await startMemorySite({ site: 'b', peer: 'a' });
    await using here = await startMemorySite();
    there.facts.attests = false;
    const receipt = (await (await there.deposit('crossing')).json()) as Json;
    expect(receipt.durability).toBe('local');
    const record = (await there.catalogue.find(receipt.id)) as DepositRecord;
    here.catalogue.receive(record);
    const read = async () =>
      (await (
        await fetch(`${here.url}/deposits/${receipt.id}`, { headers: here.auth() })
      ).json()) as Json;
    expect((await read()).durability).toBe('local');
    for (const [path, bytes] of there.bytes.files) here.bytes.files.set(path, bytes);
    expect((await read()).durability).toBe('both');
  });

  test('a replay of it says so too', async () => {
    await using there = await startMemorySite({ site: 'b', peer: 'a' });
    await using here = await startMemorySite();
    const key = { 'idempotency-key': 'crossing' };
    there.facts.attests = false;
    const receipt = (await (await there.deposit('crossing', key)).json()) as Json;
    here.catalogue.receive((await there.catalogue.find(receipt.id)) as DepositRecord);
    const replayed = async () => (await (await here.deposit('crossing', key)).json()) as Json;
    expect((await replayed()).durability).toBe('local');
    for (const [path, bytes] of there.bytes.files) here.bytes.files.set(path, bytes);
    expect(await replayed()).toMatchObject({ id: receipt.id, durability: 'both' });
  });
});
