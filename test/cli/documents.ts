/** The documents that are made from tables. UPDATE_GOLDEN=1 bun test test/cli writes them. */
import { ERROR_CODES } from '../../src/core/error-codes.ts';
import {
  defaultText,
  environmentName,
  SETTING_GROUPS,
  SETTING_NAMES,
  type SettingName,
  settingEntry,
} from '../../src/platform/settings/table.ts';
import { VALUE_TYPES } from '../../src/platform/settings/values.ts';

const MADE = '<!-- Made from the tables in the source by `UPDATE_GOLDEN=1 bun test test/cli`. -->';

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function namesOf(group: string): readonly SettingName[] {
  return SETTING_NAMES.filter((name) => settingEntry(name).group === group);
}

/** docs/configuration.md */
export function configurationPage(): string {
  const lines = [
    '# Configuration',
    '',
    MADE,
    '',
    'Each setting of `twinsite serve` is a flag, an environment variable and a key of the configuration',
    'file. A flag wins over the environment, the environment over the file, the file over the default.',
    'The file is TOML, read from `--config`, `TWINSITE_CONFIG` or `/etc/twinsite/twinsite.toml`; an',
    'unknown key in it is an error, and so is a variable that is nearly a setting. Relative paths start at',
    'the working directory, or in the file at the directory of the file.',
    '',
    '`twinsite config check` prints every value with where it comes from, and what is wrong with it.',
    'A sample file is in `deploy/twinsite.toml`.',
  ];
  for (const group of SETTING_GROUPS) {
    lines.push('', `## ${group}`, '');
    lines.push(
      '| flag | variable | key | value | default | meaning |',
      '|---|---|---|---|---|---|',
    );
    for (const name of namesOf(group)) {
      const entry = settingEntry(name);
      const placeholder = entry.placeholder ? ` ${entry.placeholder}` : '';
      const key = name === 'config' ? '' : `\`${name}\``;
      const secret = entry.secret ? ' (never printed)' : '';
      const row = [
        `\`--${name}${placeholder}\``,
        `\`${environmentName(name)}\``,
        key,
        VALUE_TYPES[entry.type].form,
        defaultText(name),
        `${entry.help}${secret}`,
      ];
      lines.push(`| ${row.map(cell).join(' | ')} |`);
    }
  }
  lines.push(
    '',
    '## How values are written',
    '',
    'Durations: `250ms`, `6s`, `5m`, `12h`, `30d`. Sizes: `64MiB`, `20GB`, or bytes. Switches: `true` or',
    '`false` (also `on`, `off`, `yes`, `no`); as a flag just `--require-both`, or `--no-require-both` to',
    'undo what the file says. Lists: an array in the file, separated by commas in a variable.',
    '`off` or `none` unsets what has no default.',
    '',
    '## The law of the timers',
    '',
    'Checked at start: 3 × `--heartbeat` ≤ `--suspect-after` < `--degrade-after`; `--degrade-after` + 2 s ≤',
    '4 s (the time-outs of replication); 4 s + 2 s ≤ `--lost-after` < 15 s (the watchdog of systemd).',
    'Both sites should have equal timers.',
  );
  return `${lines.join('\n')}\n`;
}

/** deploy/twinsite.toml */
export function sampleFile(): string {
  const lines = [
    '# Twinsite: /etc/twinsite/twinsite.toml. Every key is explained in docs/configuration.md.',
    '# What is commented out stands at its default. Check with: twinsite config check',
  ];
  for (const group of SETTING_GROUPS) {
    lines.push('', `# ---- ${group}`);
    for (const name of namesOf(group)) {
      if (name === 'config') continue;
      const entry = settingEntry(name);
      lines.push('', `# ${entry.help} (${defaultText(name)})`);
      const example = EXAMPLES[name] ?? entry.default ?? '';
      const isBare = entry.type === 'bool';
      const isList = entry.type === 'globs' || entry.type === 'cidrs';
      const value = isBare ? example : isList ? `["${example}"]` : `"${example}"`;
      lines.push(`${entry.required ? '' : '#'}${name} = ${value}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

const EXAMPLES: Readonly<Partial<Record<SettingName, string>>> = {
  store: '/home/user/san_A',
  filestore: '/home/user/filestore',
  'peer-store': '/home/user/san_B',
  identity: '/etc/twinsite/a.pem',
  site: 'a',
  peer: 'https://b.example.org:7443',
  'agent-listen': '0.0.0.0:8081',
  'ops-listen': '127.0.0.1:9090',
  'public-url': 'https://deposit.example.org',
  'tls-cert': '/etc/twinsite/tls.crt',
  'tls-key': '/etc/twinsite/tls.key',
  'trusted-proxies': '10.0.0.0/8',
  database: 'postgres://twinsite@localhost/twinsite',
  'pg-bin': '/usr/lib/postgresql/18/bin',
  'pg-user': 'postgres',
  'tunnel-socket': '/run/twinsite',
  'auto-failback': '10m',
  ignore: '*.part',
  'peer-bandwidth': '50MiB',
};

/** docs/errors.md */
export function errorsPage(): string {
  const lines = [
    '# Errors',
    '',
    MADE,
    '',
    'Over HTTP every error is `application/problem+json` with `type`, `title`, `status`, `code`, `detail`',
    'and `requestId`. On the command line it is one line on stderr: what happened, and what to do.',
    '*transient*: trying again may help. *permanent*: it will not. *fatal*: the process stops.',
    '',
    '| code | HTTP | kind | meaning | what to do |',
    '|---|---|---|---|---|',
  ];
  for (const [code, entry] of Object.entries(ERROR_CODES)) {
    const row = [`\`${code}\``, String(entry.status), entry.kind, entry.title, entry.hint];
    lines.push(`| ${row.map(cell).join(' | ')} |`);
  }
  lines.push(
    '',
    'Exit codes of commands: 0 ok, 1 failed, 2 usage or configuration, 3 partly done, 4 no running site.',
    '`twinsite status --check` follows the convention of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL,',
    '3 UNKNOWN.',
  );
  return `${lines.join('\n')}\n`;
}
