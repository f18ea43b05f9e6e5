import { describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { INSTALLED_BINARY } from '../../src/cli/systemd.ts';
import { renderUnit } from '../../src/cli/systemd-unit.ts';
import { resolveSettings } from '../../src/platform/settings/resolve.ts';
import { configurationPage, errorsPage, sampleFile } from './documents.ts';

const defaultUnit = () =>
  renderUnit({
    binary: INSTALLED_BINARY,
    args: ['serve'],
    user: 'twinsite',
    dataDir: '/var/lib/twinsite',
    mounts: [],
    workPaths: [],
    bindsLowPort: false,
  });

const GOLDEN: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/errors.md': errorsPage,
  'deploy/twinsite.toml': sampleFile,
  'deploy/twinsite.service': defaultUnit,
};

describe('files made from tables', () => {
  for (const [name, make] of Object.entries(GOLDEN)) {
    test(`${name} is what the source says (UPDATE_GOLDEN=1 rewrites it)`, () => {
      const file = fileURLToPath(new URL(`../../${name}`, import.meta.url));
      if (process.env['UPDATE_GOLDEN']) writeFileSync(file, make());
      expect(readFileSync(file, 'utf8')).toBe(make());
    });
  }

  test('the sample file is accepted, also with every line uncommented', () => {
    const text = sampleFile();
    const resolve = (content: string) =>
      resolveSettings({
        flags: {},
        env: {},
        cwd: '/',
        file: { path: '/etc/twinsite/twinsite.toml', text: content },
      });
    expect(resolve(text).values.store).toBe('/home/user/san_A');
    const whole = resolve(text.replaceAll(/^#(?=[a-z-]+ = )/gm, ''));
    expect(whole.values.ignore).toEqual(['*.part']);
    expect(whole.values['require-both']).toBe(false);
  });
});
