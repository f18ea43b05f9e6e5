import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { AppError } from '../core/errors.ts';
import { formatIdentity, parseIdentity, readIdentity } from '../link/identity-file.ts';
import { runPair } from './pair.ts';

const YEAR_MS = 365 * 86_400_000;
let root = '';
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'twinsite-identity-'));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

const pair = async (out: string, specs: readonly string[], renew = false) => {
  const lines: string[] = [];
  const code = await runPair({
    specs,
    out,
    renew,
    json: false,
    print: (line) => lines.push(line),
  });
  return { code, text: lines.join('\n') };
};
const failure = async (work: Promise<unknown>): Promise<AppError> => {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof AppError) return error;
  throw new Error(`expected an AppError, got ${String(error)}`);
};

describe('twinsite pair', () => {
  test('writes two private files that fit together', async () => {
    const out = path.join(root, 'new');
    const { code, text } = await pair(out, ['edinburgh=one.example', 'b=[::1]:7555']);
    expect(code).toBe(0);
    expect(text).toContain('TCP 7443 and 7555');
    const a = await readIdentity(path.join(out, 'edinburgh.pem'));
    const b = await readIdentity(path.join(out, 'b.pem'));
    expect((await stat(path.join(out, 'b.pem'))).mode & 0o777).toBe(0o600);
    expect([a.site, a.peer, b.site, b.peer].map(String)).toEqual([
      'edinburgh',
      'b',
      'b',
      'edinburgh',
    ]);
    expect(a.peerUrl).toBe(b.siteUrl);
    expect([a.pairId, a.pairSecret]).toEqual([b.pairId, b.pairSecret]);
    expect(a.receiptPublicKeys).toEqual(b.receiptPublicKeys);
    expect(a.tlsKey).not.toBe(b.tlsKey);
    const certificate = new X509Certificate(a.tlsCertificate);
    expect(certificate.checkHost('edinburgh')).toBe('edinburgh');
    expect(Date.parse(certificate.validTo) - Date.now()).toBeGreaterThan(19.9 * YEAR_MS);
    expect(Date.parse(certificate.validFrom)).toBeLessThan(Date.now() - 80_000_000);
    // One private TLS key and one receipt key: the CA's is nowhere.
    const file = await readFile(path.join(out, 'edinburgh.pem'), 'utf8');
    expect(file.match(/PRIVATE KEY-----$/gm)).toHaveLength(4);
  });

  test('replaces nothing, and leaves nothing half made', async () => {
    const out = path.join(root, 'kept');
    await pair(out, ['x=h1', 'b=h2']);
    const before = await readFile(path.join(out, 'b.pem'), 'utf8');
    const error = await failure(pair(out, ['a=h1', 'b=h2']));
    expect([error.code, error.message]).toEqual(['conflict', expect.stringContaining('b.pem')]);
    expect((await readdir(out)).sort()).toEqual(['b.pem', 'x.pem']);
    expect(await readFile(path.join(out, 'b.pem'), 'utf8')).toBe(before);
  });

  test('renews: new certificates, the same secret, keys and id, both CAs trusted', async () => {
    const [old, fresh] = [path.join(root, 'old'), path.join(root, 'fresh')];
    await pair(old, ['h1', 'h2']);
    const paths = ['a', 'b'].map((site) => path.join(old, `${site}.pem`));
    await pair(fresh, paths, true);
    const before = await readIdentity(path.join(old, 'a.pem'));
    const after = await readIdentity(path.join(fresh, 'a.pem'));
    for (const field of ['pairId', 'pairSecret', 'receiptKey', 'siteUrl', 'peerUrl'] as const)
      expect(after[field]).toBe(before[field]);
    expect(after.tlsCertificate).not.toBe(before.tlsCertificate);
    expect(after.caCertificates).toHaveLength(2);
    expect(after.caCertificates[1]).toBe(before.caCertificates[0] ?? '');
    const again = path.join(root, 'again');
    await pair(
      again,
      ['a', 'b'].map((site) => path.join(fresh, `${site}.pem`)),
      true,
    );
    expect((await readIdentity(path.join(again, 'b.pem'))).caCertificates).toHaveLength(2);
  });

  test.each([
    ['one site', ['a=h'], 'Give two sites'],
    ['equal names', ['a=h', 'a=i'], 'different names'],
    ['equal addresses', ['a=h', 'b=h'], 'each needs its own'],
    ['a bad name', ['A=h', 'b=i'], 'site name'],
  ])('refuses %s', async (_name, specs, text) => {
    const error = await failure(pair(path.join(root, 'never'), specs));
    expect([error.code, error.message]).toEqual(['usage', expect.stringContaining(text)]);
  });

  test('does not renew two files of different pairs', async () => {
    await pair(path.join(root, 'p1'), ['h1', 'h2']);
    await pair(path.join(root, 'p2'), ['h1', 'h2']);
    const files = [path.join(root, 'p1/a.pem'), path.join(root, 'p2/b.pem')];
    expect((await failure(pair(path.join(root, 'p3'), files, true))).code).toBe('usage');
  });
});

describe('readIdentity', () => {
  let file = '';
  let text = '';
  beforeAll(async () => {
    const out = path.join(root, 'read');
    await pair(out, ['h1', 'h2']);
    file = path.join(out, 'a.pem');
    text = await readFile(file, 'utf8');
  });
  const write = async (content: string) => {
    await writeFile(file, content, { mode: 0o600 });
    return file;
  };

  test('formatting and parsing are inverse', () => {
    const identity = parseIdentity(text, 'a.pem');
    expect(parseIdentity(formatIdentity(identity), 'again')).toEqual(identity);
  });

  test('a missing file is named, with what to do', async () => {
    const error = await failure(readIdentity('/nowhere/identity.pem'));
    expect(error.code).toBe('identity-invalid');
    expect(error.message).toContain('/nowhere/identity.pem');
    expect(error.message).toContain('twinsite pair');
  });

  test('a file that others can read is refused', async () => {
    await write(text);
    await chmod(file, 0o640);
    expect((await failure(readIdentity(file))).message).toContain(`chmod 600 ${file}`);
    await chmod(file, 0o600);
  });

  test('outside its dates it is refused', async () => {
    await write(text);
    const late = await failure(readIdentity(file, Date.now() + 21 * YEAR_MS));
    expect(late.message).toContain('expired');
    expect(late.message).toContain('--renew');
    expect((await failure(readIdentity(file, Date.now() - YEAR_MS))).message).toContain('clock');
  });

  test.each([
    ['empty', () => ''],
    ['another format', (whole: string) => whole.replace('Identity: 1', 'Identity: 2')],
    ['a broken certificate', (whole: string) => whole.replace(/MII.{20}/, 'MII!')],
    ['without its secret', (whole: string) => whole.replace(/^Pair-Secret.*$/m, '')],
    ['another site', (whole: string) => whole.replace('Site: a', 'Site: z')],
    ['the same site twice', (whole: string) => whole.replace('Peer: b', 'Peer: a')],
    ['cut', (whole: string) => whole.slice(0, 900)],
    [
      'swapped receipt keys',
      (whole: string) =>
        whole.replace('Key a:', 'Key q:').replace('Key b:', 'Key a:').replace('Key q:', 'Key b:'),
    ],
  ])('refuses a file that is %s, and shows no secret', async (_name, change) => {
    const error = await failure(readIdentity(await write(change(text))));
    expect(error.code).toBe('identity-invalid');
    expect(error.message).toContain(file);
    expect(error.message).not.toMatch(/[0-9a-f]{64}/);
  });
});
