import { afterAll, beforeAll, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { PairIdentity } from '../../core/identity.ts';
import { checkSettings } from './check.ts';
import { loadSettings } from './config.ts';
import type { FlagValues } from './resolve.ts';

let directory = '';
beforeAll(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-check-'));
  for (const each of ['data', 'store', 'taken']) await fs.mkdir(path.join(directory, each));
  await fs.writeFile(path.join(directory, 'file'), '');
});
afterAll(() => fs.rm(directory, { recursive: true }));

const identity = { site: 'a', peer: 'b', peerUrl: 'https://b:7443' } as PairIdentity;

async function errors(flags: FlagValues): Promise<string[]> {
  const settings = loadSettings({
    flags: { data: 'data', store: 'store', filestore: 'filestore', ...flags },
    env: {},
    cwd: directory,
    defaultFile: 'none.toml',
  });
  const findings = await checkSettings(settings, () => Promise.resolve(identity));
  return findings.filter(({ severity }) => severity === 'error').map(({ text }) => text);
}

test('a usable configuration has no errors', async () => {
  expect(await errors({})).toEqual([]);
  expect(await errors({ identity: 'file' })).toEqual([]);
});

const CASES: readonly (readonly [string, FlagValues, string])[] = [
  ['a store that is not there', { store: 'none' }, 'does not exist, or is not mounted'],
  ['a store that is a file', { store: 'file' }, 'is no directory'],
  ['one directory for both stores', { 'peer-store': 'store' }, 'the same directory'],
  ['a filestore that is a directory', { filestore: 'taken' }, 'is no symbolic link'],
  ['a filestore in a missing directory', { filestore: 'none/link' }, 'may not write in'],
  ['a certificate without key', { 'tls-cert': 'file' }, '--tls-key is missing'],
  [
    'a key that is not there',
    { 'tls-cert': 'file', 'tls-key': 'absent' },
    'cannot be read (ENOENT)',
  ],
  ['timers against the law', { heartbeat: '1s' }, '--suspect-after'],
  ['another site’s identity', { identity: 'file', site: 'b' }, 'is of site a'],
  ['a peer without identity', { peer: 'b' }, 'there is no identity'],
];
for (const [name, flags, words] of CASES) {
  test(`${name} is an error, told once`, async () => {
    const found = await errors(flags);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(words);
  });
}
