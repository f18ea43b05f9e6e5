import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AppError } from '../../core/errors.ts';
import type { SiteName } from '../../core/ids.ts';
import { loadSettings, siteNames, toConfig } from './config.ts';
import { type ResolveInput, resolveSettings } from './resolve.ts';
import { SETTING_NAMES, settingEntry } from './table.ts';
import { formatAddress, VALUE_TYPES } from './values.ts';

const resolve = (input: Partial<ResolveInput>) =>
  resolveSettings({ flags: {}, env: {}, cwd: '/work dir', file: null, ...input });
const file = (text: string) => ({ path: '/etc/twinsite/twinsite.toml', text });
const sourceOf = (settings: ReturnType<typeof resolve>, name: string) =>
  settings.entries.find((entry) => entry.name === name)?.source.kind;

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    expect((error as AppError).code).toBe('config');
    return (error as AppError).message;
  }
  throw new Error('was not refused');
}

describe('values', () => {
  test('every default is of its type', () => {
    for (const name of SETTING_NAMES) {
      const entry = settingEntry(name);
      if (entry.default === null) continue;
      expect([name, VALUE_TYPES[entry.type].parse(entry.default)]).not.toEqual([name, null]);
    }
  });

  test('addresses', () => {
    const parse = VALUE_TYPES.address.parse;
    expect(parse('127.0.0.1:80')).toEqual({ host: '127.0.0.1', port: 80 });
    expect(parse('[::1]:0')).toEqual({ host: '::1', port: 0 });
    expect(parse(':8080')).toEqual({ host: '0.0.0.0', port: 8080 });
    expect(parse('8080')).toEqual({ host: '0.0.0.0', port: 8080 });
    for (const wrong of ['', 'host', 'host:', 'host:99999', '::1:80', '[x]:1', 'http://h:1']) {
      expect(parse(wrong)).toBeNull();
    }
    expect(formatAddress({ host: '::1', port: 80 })).toBe('[::1]:80');
  });

  test('addresses of the peer', () => {
    const parse = VALUE_TYPES['peer-url'].parse;
    expect(parse('https://b.example.org:7443')).toBe('https://b.example.org:7443');
    expect(parse('b.example.org')).toBe('https://b.example.org:7443');
    expect(parse('b.example.org:443')).toBe('https://b.example.org:443');
    expect(parse('https://[::1]:9/')).toBe('https://[::1]:9');
    for (const wrong of ['', 'http://b', 'https://b/path', 'https://u@b']) {
      expect(parse(wrong)).toBeNull();
    }
  });

  test('the others', () => {
    expect(VALUE_TYPES.share.parse('5%')).toEqual({ kind: 'percent', percent: 5 });
    expect(VALUE_TYPES.share.parse('2GiB')).toEqual({ kind: 'bytes', bytes: 2 ** 31 });
    expect(VALUE_TYPES.share.parse('101%')).toBeNull();
    expect(VALUE_TYPES['mass-delete'].parse('100,10%')).toEqual({ count: 100, percent: 10 });
    for (const wrong of ['100', '10%', '1,2,3%', '-1,5%']) {
      expect(VALUE_TYPES['mass-delete'].parse(wrong)).toBeNull();
    }
    expect(VALUE_TYPES.days.parse('30d')).toBe(30);
    expect(VALUE_TYPES.days.parse('0')).toBeNull();
    expect(VALUE_TYPES.rate.parse('50MiB/s')).toBe(50 * 2 ** 20);
    expect(VALUE_TYPES.cidrs.parse('10.0.0.0/8, 192.0.2.7')).toEqual([
      '10.0.0.0/8',
      '192.0.2.7/32',
    ]);
    expect(VALUE_TYPES.cidrs.parse('10.0.0.0/33')).toBeNull();
    expect(VALUE_TYPES.globs.parse('*.tmp,{a,b}*\nx')).toEqual(['*.tmp', '{a,b}*', 'x']);
    expect(VALUE_TYPES.url.parse('https://deposit.example.org/')).toBe(
      'https://deposit.example.org',
    );
    expect(VALUE_TYPES.bool.parse('ON')).toBe(true);
    expect(VALUE_TYPES.bool.parse('perhaps')).toBeNull();
  });
});

describe('sources', () => {
  test('flag over environment over file over default', () => {
    const all = {
      flags: { settle: '1ms' },
      env: { TWINSITE_SETTLE: '2ms', TWINSITE_HEARTBEAT: '100ms' },
      file: file('settle = "3ms"\nheartbeat = "200ms"\nlisten = "127.0.0.1:1"\n'),
    };
    const settings = resolve(all);
    expect(settings.values.settle).toBe(1);
    expect(settings.values.heartbeat).toBe(100);
    expect(settings.values.listen).toEqual({ host: '127.0.0.1', port: 1 });
    expect(settings.values['lost-after']).toBe(6000);
    expect(
      ['settle', 'heartbeat', 'listen', 'lost-after'].map((each) => sourceOf(settings, each)),
    ).toEqual(['flag', 'env', 'file', 'default']);
  });

  test('an unknown key of the file is refused with the one that was meant', () => {
    expect(refusal(() => resolve({ file: file('stroe = "/x"') }))).toContain(
      "unknown key 'stroe' (did you mean store?)",
    );
    expect(refusal(() => resolve({ file: file('[server]\nx = 1') }))).toContain("'server'");
    expect(refusal(() => resolve({ file: file('config = "/x"') }))).toContain("'config'");
  });

  test('both spellings of a key are one key', () => {
    expect(resolve({ file: file('peer_store = "/x"') }).values['peer-store']).toBe('/x');
    expect(
      refusal(() => resolve({ file: file('peer_store = "/x"\npeer-store = "/y"') })),
    ).toContain('twice');
  });

  test('types of TOML', () => {
    const settings = resolve({
      file: file('require-both = true\ntrash-days = 7\nignore = ["a,b", "c"]\n'),
    });
    expect(settings.values['require-both']).toBe(true);
    expect(settings.values['trash-days']).toBe(7);
    expect(refusal(() => resolve({ file: file('store = ["/x"]') }))).toContain('store in /etc');
    expect(refusal(() => resolve({ file: file('store = ') }))).toContain('/etc/twinsite');
  });

  test('a variable that is nearly a setting is refused, a foreign one is told', () => {
    expect(refusal(() => resolve({ env: { TWINSITE_STROE: '/x' } }))).toContain('TWINSITE_STORE');
    const settings = resolve({ env: { TWINSITE_SAMPLES: '/x', TWINSITE_STORE: '' } });
    expect(settings.warnings).toEqual(['TWINSITE_SAMPLES is no setting and is not used']);
    expect(settings.values.store).toBeNull();
  });

  test('a wrong value is refused by the name of its source, secrets are not repeated', () => {
    expect(refusal(() => resolve({ flags: { settle: '5' } }))).toStartWith('--settle is "5"');
    expect(refusal(() => resolve({ env: { TWINSITE_SETTLE: 'x' } }))).toStartWith(
      'TWINSITE_SETTLE is "x"',
    );
    expect(refusal(() => resolve({ file: file('settle = "x"') }))).toStartWith('settle in /etc');
    expect(refusal(() => resolve({ flags: { database: 'mysql://u:pw@h/d' } }))).not.toContain('pw');
  });

  test('paths are absolute: from the working directory, or from that of the file', () => {
    const settings = resolve({ flags: { store: 'san' }, file: file('filestore = "link"') });
    expect(settings.values.store).toBe('/work dir/san');
    expect(settings.values.filestore).toBe('/etc/twinsite/link');
  });

  test('off and none unset what has no default', () => {
    const settings = resolve({
      flags: { 'peer-store': 'none', 'auto-failback': 'off' },
      file: file('peer-store = "/x"'),
    });
    expect(settings.values['peer-store']).toBeNull();
    expect(settings.values['auto-failback']).toBeNull();
  });
});

describe('configuration', () => {
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'twinsite-settings-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  const base = { store: '/s', filestore: '/f', data: '/nowhere/data' };

  test('store and filestore are required', () => {
    expect(refusal(() => toConfig(resolve({})))).toContain('--store is missing');
    expect(refusal(() => toConfig(resolve({ flags: { store: '/s' } })))).toContain('--filestore');
  });

  test('what belongs together comes together', () => {
    const config = toConfig(resolve({ flags: base }));
    expect(config.database).toEqual({ mode: 'embedded', binDir: null, user: null });
    expect(config.timers.lostAfterMs).toBe(6000);
    expect(config.tls).toBeNull();
    expect(config.identityFile).toBeNull();
    expect(refusal(() => toConfig(resolve({ flags: { ...base, 'tls-cert': '/c' } })))).toContain(
      '--tls-key',
    );
    expect(refusal(() => toConfig(resolve({ flags: { ...base, 'lost-after': '5s' } })))).toContain(
      '--lost-after',
    );
  });

  test('a named file must be there, the usual one need not', () => {
    const load = (flags: object) =>
      loadSettings({ flags, env: {}, cwd: directory, defaultFile: 'none.toml' });
    expect(load({}).configFile).toBeNull();
    expect(refusal(() => load({ config: 'none.toml' }))).toContain('does not exist');
    writeFileSync(path.join(directory, 'a.toml'), 'store = "san"\n');
    const settings = load({ config: 'a.toml' });
    expect(settings.values.store).toBe(path.join(directory, 'san'));
    expect(settings.configFile).toBe(path.join(directory, 'a.toml'));
  });

  test('the identity beside the data is found', () => {
    writeFileSync(path.join(directory, 'identity.pem'), '');
    const config = toConfig(resolve({ flags: { ...base, data: directory } }));
    expect(config.identityFile).toBe(path.join(directory, 'identity.pem'));
  });

  test('names come from the identity, and a contradiction is refused', () => {
    const site = (name: string) => name as SiteName;
    const identity = { site: site('a'), peer: site('b'), peerUrl: 'https://b:7443' };
    const none = { site: null, peerUrl: null, identityFile: '/i.pem' };
    expect(siteNames(none, identity)).toEqual(identity);
    expect(siteNames({ ...none, peerUrl: 'https://x:1' }, identity).peerUrl).toBe('https://x:1');
    expect(refusal(() => siteNames({ ...none, site: site('b') }, identity))).toContain(
      '--site is b, but the identity /i.pem is of site a',
    );
    expect(siteNames(none, null)).toEqual({ site: site('a'), peer: null, peerUrl: null });
    expect(refusal(() => siteNames({ ...none, peerUrl: 'https://x:1' }, null))).toContain('--peer');
  });
});
