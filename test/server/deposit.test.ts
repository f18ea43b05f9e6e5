/** Deposits through the real listener: what is taken, what is refused, and what is left behind. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { digests, type RunningSite, startMemorySite } from '../support/memory-site.ts';
import { rawRequest } from '../support/raw-http.ts';

// biome-ignore lint/suspicious/noExplicitAny: documents of the outside, looked at field by field
type Json = any;

let site: RunningSite;
beforeAll(async () => {
  site = await startMemorySite({ settings: { maxBodyBytes: 1_000_000, bodyIdleMs: 300 } });
});
afterAll(async () => {
  await site[Symbol.asyncDispose]();
});
beforeEach(() => {
  Object.assign(site.facts, { state: 'paired', answering: true, attests: true, freeBytes: 1e12 });
  site.catalogue.beforeCommit = async () => undefined;
  site.catalogue.afterCommit = async () => undefined;
  site.bytes.beforeWrite = async () => undefined;
});

function nothingLeft(): void {
  expect([site.bytes.open.size, site.bytes.temps.size]).toEqual([0, 0]);
}

async function problemOf(response: Response): Promise<Json> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const problem = (await response.json()) as Json;
  expect(Object.keys(problem)).toEqual(['type', 'title', 'status', 'code', 'detail', 'requestId']);
  expect(problem.status).toBe(response.status);
  expect(problem.requestId).toBe(response.headers.get('x-request-id'));
  return problem;
}

describe('a deposit', () => {
  test('is answered with a receipt of every field in order', async () => {
    const body = 'some bytes of a paper';
    const response = await site.deposit(body, {
      'content-type': 'application/pdf',
      'content-disposition': 'attachment; filename=paper.pdf',
      'on-behalf-of': 'Grace Høpper',
      packaging: 'http://purl.org/net/sword/package/Binary',
    });
    const receipt = (await response.json()) as Json;
    expect(response.status).toBe(201);
    expect(response.headers.get('location')).toBe(`/deposits/${receipt.id}`);
    expect(Object.keys(receipt)).toEqual([
      'id',
      'collection',
      'depositor',
      'onBehalfOf',
      'receivedAt',
      'receivedBy',
      'state',
      'durability',
      'durableAt',
      'revision',
      'title',
      'packaging',
      'files',
      'sameContentAs',
      'links',
    ]);
    const { sha256, md5 } = digests(body);
    expect(receipt).toMatchObject({
      collection: 'papers',
      depositor: 'alice',
      receivedBy: 'a',
      state: 'deposited',
      durability: 'both',
      revision: 1,
      packaging: 'http://purl.org/net/sword/package/Binary',
      links: { self: `/deposits/${receipt.id}` },
    });
    expect(receipt.durableAt).toEqual({ a: receipt.receivedAt, b: expect.any(String) });
    expect(receipt.files).toEqual([
      {
        name: 'paper.pdf',
        mediaType: 'application/pdf',
        sizeBytes: body.length,
        sha256,
        md5,
        path: expect.stringMatching(
          /^deposits\/papers\/[0-9a-f]{2}\/[0-9a-f-]+\/[0-9a-f-]+\/paper\.pdf$/,
        ),
        href: `/deposits/${receipt.id}/files/paper.pdf`,
      },
    ]);
    const again = await fetch(`${site.url}/deposits/${receipt.id}`, { headers: site.auth() });
    expect(await again.json()).toEqual(receipt);
    const line = site.lines.findLast((each) => each.event === 'deposit.accepted');
    expect(line?.fields).toMatchObject({ id: receipt.id, bytes: body.length, durability: 'both' });
    nothingLeft();
  });

  test('without a name is `deposit` with the extension of its type; an empty one is taken', async () => {
    const names = [];
    for (const type of ['application/zip', 'application/pdf', 'application/x-unknown', '']) {
      const response = await site.deposit('', type === '' ? {} : { 'content-type': type });
      expect(response.status).toBe(201);
      const { files } = (await response.json()) as Json;
      names.push(files[0].name);
      expect(files[0].sizeBytes).toBe(0);
    }
    expect(names).toEqual(['deposit.zip', 'deposit.pdf', 'deposit.bin', 'deposit.bin']);
  });

  test('what curl sends: the samples of Jisc and Dataverse', async () => {
    const basic = Buffer.from(`alice:${site.token}`).toString('base64');
    const tokenAsUser = Buffer.from(`${site.token}:`).toString('base64');
    for (const [authorization, disposition, name] of [
      [basic, 'attachment; filename=article.zip', 'article.zip'],
      [tokenAsUser, 'filename=example.zip', 'example.zip'],
    ]) {
      const answer = await rawRequest(site.port, [
        `POST /collections/papers/deposits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic ${authorization}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nContent-Disposition: ${disposition}\r\nContent-Type: application/zip\r\nPackaging: http://purl.org/net/sword/package/SimpleZip\r\nContent-Length: 4\r\nConnection: close\r\n\r\nPK\u0003\u0004`,
      ]);
      expect(answer.status).toBe(201);
      expect(JSON.parse(answer.body).files[0].name).toBe(name);
    }
  });

  test('a chunked body and one with Expect', async () => {
    const head = `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\nConnection: close\r\n`;
    const chunked = await rawRequest(site.port, [
      `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
      30,
      '6\r\n world\r\n0\r\n\r\n',
    ]);
    expect(JSON.parse(chunked.body).files[0].sizeBytes).toBe(11);
    const expecting = await rawRequest(site.port, [
      `${head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
      30,
      'hello',
    ]);
    expect(expecting.head).toContain('100 Continue');
    expect(expecting.body).toContain('201 Created');
  });

  test('equal content of the same depositor is named', async () => {
    const ids = [];
    for (let round = 0; round < 3; round += 1) {
      const receipt = (await (await site.deposit('the very same content')).json()) as Json;
      expect(new Set(receipt.sameContentAs)).toEqual(new Set(ids));
      ids.push(receipt.id);
    }
  });
});

describe('digests', () => {
  const body = 'body to be digested';
  const good = digests(body);
  const wrong = digests('another body');

  test.each([
    ['content-digest', `sha-256=:${good.sha256Base64}:`],
    ['repr-digest', `sha-256=:${good.sha256Base64}:, md5=:${good.md5Base64}:`],
    ['content-digest', `sha-512=:${good.sha512Base64}:`],
    ['content-digest', 'unixsum=:AAAA:'],
    ['content-md5', good.md5],
    ['content-md5', good.md5.toUpperCase()],
    ['content-md5', good.md5Base64],
  ])('%s: %s holds', async (name, value) => {
    expect((await site.deposit(body, { [name]: value })).status).toBe(201);
  });

  test.each([
    ['content-digest', `sha-256=:${wrong.sha256Base64}:`],
    ['repr-digest', `sha-512=:${wrong.sha512Base64}:`],
    ['content-md5', wrong.md5],
    ['content-md5', wrong.md5Base64],
  ])('%s: %s does not, and nothing is kept', async (name, value) => {
    const before = [site.catalogue.depositCount, site.bytes.files.size];
    const response = await site.deposit(body, { [name]: value });
    expect([response.status, (await problemOf(response)).code]).toEqual([400, 'digest-mismatch']);
    expect([site.catalogue.depositCount, site.bytes.files.size]).toEqual(before);
    nothingLeft();
  });

  test.each([
    ['content-digest', 'sha-256=nonsense'],
    ['content-digest', 'sha-256=:AAAA:'],
    ['content-digest', ''],
    ['repr-digest', 'sha-256=:%%:'],
    ['content-md5', 'abc'],
    ['content-md5', `${good.md5}00`],
  ])('%s: %s is malformed, said before the body', async (name, value) => {
    const written = site.bytes.bytesWritten;
    const response = await site.deposit(body, { [name]: value });
    expect([response.status, (await problemOf(response)).code]).toEqual([400, 'digest-invalid']);
    expect(site.bytes.bytesWritten).toBe(written);
  });
});

describe('names', () => {
  test.each([
    '../../etc/passwd',
    '..',
    '.',
    'a/b',
    'a\\b',
    'a\0b',
    'a..b',
    '',
    'n'.repeat(1025),
    'é'.repeat(513),
  ])('%j is refused', async (name) => {
    const response = await site.deposit('x', {
      'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
    });
    expect([response.status, (await problemOf(response)).code]).toEqual([400, 'bad-name']);
    nothingLeft();
  });

  test.each([
    'paper.pdf',
    'résumé – final (1).pdf',
    '論文.zip',
    '😀.txt',
    'a "quoted" name.txt',
    '100%.txt',
    'a%20b.txt',
    'aux',
    '.hidden',
    "it's;=,.txt",
    'n'.repeat(1024),
    'line\nbreak.txt',
    '?query#fragment',
  ])('%j goes round', async (name) => {
    const response = await site.deposit(`content of ${name}`, {
      'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name).replaceAll("'", '%27')}`,
    });
    expect(response.status).toBe(201);
    const [file] = ((await response.json()) as Json).files;
    expect(file.name).toBe(name);
    const download = await fetch(`${site.url}${file.href}`, { headers: site.auth() });
    expect([download.status, await download.text()]).toEqual([200, `content of ${name}`]);
  });

  test.each([
    ['UTF-8', Buffer.from('filename="caf\u00e9 \u20ac.txt"', 'utf8'), 'café €.txt'],
    ['Latin-1', Buffer.from('filename="caf\u00e9.txt"', 'latin1'), 'café.txt'],
  ])('raw %s in the header', async (_, value, name) => {
    const answer = await rawRequest(site.port, [
      `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\nConnection: close\r\nContent-Length: 1\r\nContent-Disposition: attachment; `,
      value,
      '\r\n\r\nx',
    ]);
    expect(answer.status).toBe(201);
    const body = Buffer.from(answer.body, 'latin1').toString('utf8');
    expect(JSON.parse(body).files[0].name).toBe(name);
  });
});

describe('refusals before the body', () => {
  const post = (path: string, headers: Record<string, string>, body = 'x') =>
    fetch(`${site.url}${path}`, { method: 'POST', headers, body });

  test('who, where, what: 401, 404, 403, 415, 400', async () => {
    const anonymous = await post('/collections/papers/deposits', {});
    expect(anonymous.status).toBe(401);
    expect(anonymous.headers.get('www-authenticate')).toContain('Basic realm="twinsite"');
    expect(anonymous.headers.get('www-authenticate')).toContain('Bearer');
    await problemOf(anonymous);
    expect((await post('/collections/nothing/deposits', site.auth())).status).toBe(404);
    await site.accounts.addCollection('secret', null).catch(() => undefined);
    expect((await post('/collections/secret/deposits', site.auth())).status).toBe(403);
    const form = new FormData();
    form.set('file', new Blob(['x']), 'x.txt');
    const multipart = await fetch(`${site.url}/collections/papers/deposits`, {
      method: 'POST',
      headers: site.auth(),
      body: form,
    });
    expect(multipart.status).toBe(415);
    expect((await problemOf(multipart)).detail).toContain('--data-binary');
    expect((await site.deposit('x', { 'content-encoding': 'gzip' })).status).toBe(415);
    expect((await site.deposit('x', { 'in-progress': 'true' })).status).toBe(400);
    expect((await site.deposit('x', { 'in-progress': 'false' })).status).toBe(201);
    expect((await site.deposit('x', { 'idempotency-key': 'k'.repeat(256) })).status).toBe(400);
    expect((await site.deposit('x', { 'idempotency-key': 'with space' })).status).toBe(400);
    nothingLeft();
  });

  test('wrong methods are 405 with Allow, unknown addresses 404, as problems', async () => {
    for (const [method, path, allow] of [
      ['GET', '/collections/papers/deposits', 'POST'],
      ['DELETE', '/deposits', 'GET'],
      ['POST', '/collections', 'GET'],
      ['PUT', '/deposits/x/files/y', 'GET'],
      ['POST', '/livez', 'GET'],
      ['TRACE', '/status', 'GET'],
    ] as const) {
      const answer = await rawRequest(site.port, [
        `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      ]);
      expect([method, path, answer.status]).toEqual([method, path, 405]);
      expect(answer.head.toLowerCase()).toContain(`allow: ${allow.toLowerCase()}`);
      expect(JSON.parse(answer.body).code).toBe('method-not-allowed');
    }
    const unknown = await fetch(`${site.url}/nothing/here`);
    expect([unknown.status, (await problemOf(unknown)).code]).toEqual([404, 'not-found']);
    const traversal = await rawRequest(site.port, [
      'GET /deposits/../../etc/%2e%2e/passwd%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    ]);
    expect(traversal.status).toBe(404);
  });

  test('unready: 503 with Retry-After; no space: 507', async () => {
    site.facts.state = 'draining';
    const draining = await site.deposit('x');
    expect([draining.status, draining.headers.get('retry-after')]).toEqual([503, '2']);
    expect((await problemOf(draining)).code).toBe('not-ready');
    site.facts.state = 'paired';
    site.facts.freeBytes = 10;
    const full = await site.deposit('x');
    expect([full.status, (await problemOf(full)).code]).toEqual([507, 'storage']);
  });

  test('too large by Content-Length: 413 while the body is still to come', async () => {
    const answer = await rawRequest(site.port, [
      `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\nConnection: close\r\nContent-Length: 1000001\r\n\r\n`,
    ]);
    expect([answer.status, answer.error]).toEqual([413, null]);
    expect(JSON.parse(answer.body).detail).toContain('1000000');
  });

  test('too large on the way: 413, and nothing is kept', async () => {
    const chunk = 'x'.repeat(65_536);
    const answer = await rawRequest(site.port, [
      `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`,
      ...Array.from({ length: 17 }, () => `10000\r\n${chunk}\r\n`),
    ]);
    expect(answer.status).toBe(413);
    nothingLeft();
  });

  test('a client that sends everything before it looks still reads the 401', async () => {
    const body = new Uint8Array(8_000_000);
    const answer = await rawRequest(site.port, [
      `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`,
      body,
    ]);
    expect([answer.status, answer.error]).toEqual([401, null]);
  });

  test('a store that is full on the way: 507', async () => {
    const { AppError } = await import('../../src/core/errors.ts');
    site.bytes.refuse = () => new AppError('storage', 'The store is full.');
    expect((await site.deposit('x')).status).toBe(507);
    site.bytes.refuse = () => new Error('/secret/path EIO');
    const internal = await site.deposit('x');
    expect([internal.status, (await internal.text()).includes('secret')]).toEqual([500, false]);
    site.bytes.refuse = () => null;
  });
});

describe('bodies that do not come whole', () => {
  const head = (length: number) =>
    `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\nContent-Length: ${length}\r\n\r\n`;
  const gone = async () => {
    for (let look = 0; look < 100 && site.bytes.open.size > 0; look += 1) await Bun.sleep(10);
    nothingLeft();
  };

  test('cut off half way: nothing is left', async () => {
    const before = [site.catalogue.depositCount, site.bytes.files.size];
    await rawRequest(site.port, [head(500_000), 'x'.repeat(200_000), 100], { destroyAfter: true });
    await gone();
    expect([site.catalogue.depositCount, site.bytes.files.size]).toEqual(before);
  });

  test('a client that stops sending is told so and let go', async () => {
    const answer = await rawRequest(site.port, [head(500_000), 'x'.repeat(1000)]);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body).code).toBe('body-incomplete');
    await gone();
  });

  test('a slow client that moves is waited for', async () => {
    const parts = Array.from({ length: 8 }, () => ['xx', 100]).flat();
    const answer = await rawRequest(site.port, [
      head(16).replace('Host', 'Connection: close\r\nHost'),
      ...parts,
    ]);
    expect(answer.status).toBe(201);
  });

  test('two lengths, a length and chunks, a bad chunk: 400 and closed', async () => {
    const base = `POST /collections/papers/deposits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${site.token}\r\n`;
    const before = site.catalogue.depositCount;
    for (const rest of [
      'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef',
      'Content-Length: 5x\r\n\r\nabcde',
      'Transfer-Encoding: chunked\r\n\r\nzz\r\nabcde\r\n0\r\n\r\n',
      `X-Huge: ${'h'.repeat(100_000)}\r\n\r\n`,
    ]) {
      const answer = await rawRequest(site.port, [base + rest]);
      expect([400, 431]).toContain(answer.status);
    }
    expect(site.catalogue.depositCount).toBe(before);
    await gone();
  });
});

describe('Idempotency-Key', () => {
  test('the same request again is the same deposit, as it is now', async () => {
    site.facts.attests = false;
    const headers = { 'idempotency-key': 'replayed', 'content-disposition': 'filename=x.txt' };
    const first = await site.deposit('content', headers);
    const receipt = (await first.json()) as Json;
    expect([first.status, receipt.durability]).toEqual([201, 'local']);
    expect(first.headers.get('idempotent-replay')).toBeNull();
    const written = site.bytes.bytesWritten;
    site.facts.attests = true;
    const again = await site.deposit('content', headers);
    const later = (await again.json()) as Json;
    expect([again.status, later.id, later.durability]).toEqual([201, receipt.id, 'both']);
    expect(again.headers.get('idempotent-replay')).toBe('true');
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(site.bytes.bytesWritten).toBe(written);
  });

  test.each([
    ['other bytes', 'other', {}],
    ['another name', 'content', { 'content-disposition': 'filename=y.txt' }],
    ['another type', 'content', { 'content-type': 'application/pdf' }],
    ['another packaging', 'content', { packaging: 'urn:x' }],
  ])('%s under one key: 422', async (what, body, extra) => {
    const key = { 'idempotency-key': `reused-${what.replace(' ', '-')}` };
    const base = { 'content-disposition': 'filename=x.txt', 'content-type': 'text/plain' };
    expect((await site.deposit('content', { ...base, ...key })).status).toBe(201);
    const count = site.catalogue.depositCount;
    const reused = await site.deposit(body, { ...base, ...key, ...extra });
    expect([reused.status, (await problemOf(reused)).code]).toEqual([
      422,
      'idempotency-key-reused',
    ]);
    expect(site.catalogue.depositCount).toBe(count);
  });

  test('eight at once are one deposit', async () => {
    const count = site.catalogue.depositCount;
    site.bytes.beforeWrite = () => Bun.sleep(50);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => site.deposit('at once', { 'idempotency-key': 'parallel' })),
    );
    const statuses = answers.map((answer) => answer.status);
    expect(statuses.filter((status) => status === 201).length).toBeGreaterThanOrEqual(1);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expect(answer.status).toBe(409);
      expect(answer.headers.get('retry-after')).toBe('1');
      expect((await problemOf(answer)).code).toBe('key-in-progress');
    }
    expect(site.catalogue.depositCount).toBe(count + 1);
    nothingLeft();
  });

  test('a key is free again after a failure', async () => {
    const key = { 'idempotency-key': 'failed-once' };
    const bad = await site.deposit('content', { ...key, 'content-md5': '0'.repeat(32) });
    expect(bad.status).toBe(400);
    expect((await site.deposit('content', key)).status).toBe(201);
  });

  test('the row arrived from the other site meanwhile: a replay', async () => {
    site.catalogue.beforeCommit = async (rows) => {
      site.catalogue.receive({
        ...rows,
        events: rows.events.map((event) => ({ ...event, id: 'theirs', site: 'b' as never })),
      });
      site.catalogue.markHeld(rows.deposit.id);
    };
    const response = await site.deposit('raced', { 'idempotency-key': 'raced' });
    const receipt = (await response.json()) as Json;
    expect([response.status, receipt.receivedBy, receipt.durability]).toEqual([201, 'b', 'both']);
    expect(response.headers.get('idempotent-replay')).toBe('true');
  });
});

describe('commits and evidence', () => {
  test('a commit whose connection broke is looked for before anything is said', async () => {
    site.catalogue.afterCommit = async () => {
      throw new Error('connection lost');
    };
    const found = await site.deposit('committed after all');
    expect(found.status).toBe(201);
    expect(found.headers.get('idempotent-replay')).toBeNull();
  });

  test('an unknown outcome says how to find out', async () => {
    site.catalogue.beforeCommit = async () => {
      throw new Error('connection lost');
    };
    const keyed = await site.deposit('x', { 'idempotency-key': 'unknown' });
    expect(keyed.status).toBe(503);
    expect((await problemOf(keyed)).detail).toContain('same Idempotency-Key');
    nothingLeft();
  });

  test('without the peer: local, soon, and the log says why', async () => {
    site.facts.answering = false;
    site.facts.attests = false;
    const response = await site.deposit('alone');
    const receipt = (await response.json()) as Json;
    expect([response.status, receipt.durability]).toEqual([201, 'local']);
    expect(receipt.durableAt.b).toBeNull();
    expect(site.facts.attestCalls.at(-1)?.timeoutMs).toBeLessThanOrEqual(250);
    const line = site.lines.findLast((each) => each.event === 'deposit.accepted');
    expect(line?.fields['whyLocal']).toBe('the peer does not answer');
  });

  test('the wait for the peer is what is left of the deadline since the commit', async () => {
    site.facts.attests = false;
    await site.deposit('waits');
    const wait = site.facts.attestCalls.at(-1)?.timeoutMs ?? 0;
    expect(wait).toBeGreaterThan(1000);
    expect(wait).toBeLessThanOrEqual(1500);
  });
});

test('--require-both: refused at once without the peer, 503 when its proof is late', async () => {
  await using strict = await startMemorySite({ settings: { requireBoth: true } });
  strict.facts.answering = false;
  const refused = await strict.deposit('x');
  expect([refused.status, (await problemOf(refused)).code]).toEqual([503, 'not-ready']);
  expect(strict.catalogue.depositCount).toBe(0);
  strict.facts.answering = true;
  strict.facts.attests = false;
  const late = await strict.deposit('x', { 'idempotency-key': 'late' });
  expect([late.status, (await problemOf(late)).code]).toEqual([503, 'durability-unproven']);
  expect(late.headers.get('retry-after')).toBe('2');
  expect((await strict.deposit('x', { 'idempotency-key': 'late' })).status).toBe(503);
  strict.facts.attests = true;
  const found = await strict.deposit('x', { 'idempotency-key': 'late' });
  expect([found.status, found.headers.get('idempotent-replay')]).toEqual([201, 'true']);
  expect(strict.catalogue.depositCount).toBe(1);
});

test('too many at once are turned away', async () => {
  await using small = await startMemorySite({ settings: { maxRunningDeposits: 1 } });
  const release = Promise.withResolvers<void>();
  small.bytes.beforeWrite = () => release.promise;
  const first = small.deposit('x');
  while (small.bytes.open.size === 0) await Bun.sleep(1);
  const second = await small.deposit('y');
  expect([second.status, second.headers.get('retry-after')]).toEqual([503, '1']);
  expect(small.inFlight.inFlight()).toBe(1);
  release.resolve();
  expect((await first).status).toBe(201);
  await small.inFlight.whenIdle();
});

test('links and Location are absolute with --public-url', async () => {
  await using named = await startMemorySite({ settings: { publicUrl: 'https://deposit.example' } });
  const response = await named.deposit('x');
  const receipt = (await response.json()) as Json;
  const self = `https://deposit.example/deposits/${receipt.id}`;
  expect(response.headers.get('location')).toBe(self);
  expect([receipt.links.self, receipt.files[0].href]).toEqual([self, `${self}/files/deposit.bin`]);
});
