/** The files for systemd and HAProxy, judged by systemd and HAProxy themselves. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { mountUnitName, renderUnit, type UnitInput, unitWord } from '../src/cli/systemd-unit.ts';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), 'twinsite-deploy-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

function run(...command: [string, ...string[]]) {
  const result = Bun.spawnSync(command, { stdout: 'pipe', stderr: 'pipe' });
  return { code: result.exitCode, text: `${result.stdout}${result.stderr}` };
}

/** `make setup` installs what is missing; the check itself may not be skipped in silence. */
const has = (program: string) => {
  const found = Bun.which(program) !== null;
  if (!found) console.warn(`${program} is not installed: its test is skipped`);
  return found;
};

const UNIT: UnitInput = {
  // Must exist for systemd-analyze.
  binary: '/bin/true',
  args: ['serve', '--store', '/srv/san A/50%', '--filestore', '/home/user/filestore'],
  user: 'daemon',
  dataDir: '/var/lib/twinsite',
  mounts: ['/srv/san A', '/home/user/san_B'],
  workPaths: ['/srv/san A', '/home/user/san_B'],
  bindsLowPort: false,
};

describe('the unit', () => {
  test('words are quoted as systemd reads them', () => {
    expect(unitWord('--store')).toBe('--store');
    expect(unitWord('/srv/san A')).toBe('"/srv/san A"');
    expect(unitWord('50%')).toBe('50%%');
    expect(unitWord('$HOME')).toBe('$$HOME');
    expect(unitWord('a"b\\c')).toBe('"a\\"b\\\\c"');
    expect(unitWord('')).toBe('""');
  });

  test('no mount of its own below a store, and no hard tie to the mount', () => {
    const text = renderUnit(UNIT)
      .split('\n')
      .filter((line) => !line.startsWith('#'))
      .join('\n');
    expect(text).not.toMatch(
      /ReadWritePaths|BindPaths|ProtectHome|RequiresMountsFor|System=strict/,
    );
    expect(text).toContain('After=network-online.target srv-san\\x20A.mount home-user-san_B.mount');
  });

  test('a private /tmp does not hide a store in /tmp', () => {
    expect(renderUnit(UNIT)).toContain('PrivateTmp=yes');
    expect(renderUnit({ ...UNIT, workPaths: ['/var/tmp/san'] })).not.toContain('PrivateTmp=');
  });

  test.if(has('systemd-escape'))('mount units are named as systemd-escape does', () => {
    for (const each of ['/', '/srv/san_A', '/srv//san-A/', '/a b/é%', '/.hidden/.x', '/a.b:c']) {
      const { text } = run('systemd-escape', '--path', '--suffix=mount', each);
      expect(mountUnitName(each)).toBe(text.trim());
    }
  });

  const users = [
    ['an ordinary user', UNIT, 2.5],
    // Root gives PostgreSQL to another user, and files to their owners.
    ['root', { ...UNIT, user: 'root' }, 3.5],
    ['an ordinary user with a port below 1024', { ...UNIT, bindsLowPort: true }, 2.5],
  ] as const;
  for (const [who, input, most] of users) {
    test.if(has('systemd-analyze'))(`as ${who} is clean and well confined`, () => {
      const file = path.join(
        directory,
        `twinsite-${users.findIndex(([each]) => each === who)}.service`,
      );
      writeFileSync(file, renderUnit(input));
      const verified = run('systemd-analyze', 'verify', '--man=no', file);
      const own = verified.text.split('\n').filter((line) => line.includes('twinsite'));
      expect(own).toEqual([]);
      expect(verified.code).toBe(0);
      const { text } = run('systemd-analyze', 'security', '--offline=true', '--no-pager', file);
      const score = Number(/exposure level for \S+: ([\d.]+)/.exec(text)?.[1]);
      expect(score).toBeGreaterThan(0);
      expect(score).toBeLessThanOrEqual(most);
    });
  }

  test('what is in deploy/ names the installed binary', async () => {
    const file = fileURLToPath(new URL('../deploy/twinsite.service', import.meta.url));
    expect(await Bun.file(file).text()).toContain('ExecStart=/usr/local/bin/twinsite serve\n');
  });
});

describe('the balancer', () => {
  const file = fileURLToPath(new URL('../deploy/haproxy.cfg', import.meta.url));

  test.if(has('haproxy'))('haproxy accepts the configuration', () => {
    const { code, text } = run('haproxy', '-c', '-f', file);
    expect(text).not.toMatch(/WARNING|ALERT/);
    expect(code).toBe(0);
  });
});
