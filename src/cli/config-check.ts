import type { Command } from 'commander';
import { checkSettings } from '../platform/settings/check.ts';
import { loadSettings } from '../platform/settings/config.ts';
import type { ResolvedSetting, SettingSource } from '../platform/settings/resolve.ts';
import { settingEntry } from '../platform/settings/table.ts';
import { addCommand, addGroup, type CommandContext, handle } from './command-shape.ts';
import { EXIT } from './failure.ts';
import { alignColumns } from './output/table.ts';
import { addServeFlags, flagValues } from './serve-flags.ts';

/** `twinsite config check`. */
export function registerConfig(program: Command, context: CommandContext): void {
  const group = addGroup(program, 'config', 'the configuration');
  const command = addCommand(group, {
    usage: 'check',
    summary: 'print every setting with where it comes from, and what is wrong',
    examples: ['config check', 'config check --config /etc/twinsite/twinsite.toml --json'],
  });
  addServeFlags(command);
  handle(command, context, async (options) => {
    const settings = loadSettings({
      flags: flagValues(command),
      env: context.env,
      cwd: context.cwd,
    });
    const { readIdentity } = await import('../link/identity-file.ts');
    const findings = await checkSettings(settings, readIdentity);
    const ok = findings.every((finding) => finding.severity !== 'error');
    if (options['json'] === true) {
      const shown = settings.entries.map((entry) => ({
        name: entry.name,
        value: maskedText(entry),
        source: entry.source,
      }));
      context.output.json({ ok, file: settings.configFile, settings: shown, findings });
      return ok ? EXIT.ok : EXIT.usage;
    }
    printSettings(context, settings.entries);
    for (const finding of findings) {
      const colour = finding.severity === 'error' ? 'red' : 'yellow';
      context.output.line(`${context.output.paint(colour, finding.severity)}: ${finding.text}`);
    }
    if (ok) context.output.line(context.output.paint('green', 'the configuration can be used'));
    return ok ? EXIT.ok : EXIT.usage;
  });
}

function printSettings(context: CommandContext, entries: readonly ResolvedSetting[]): void {
  const rows = entries.map((entry) => [
    entry.name,
    maskedText(entry) ?? '-',
    sourceText(entry.source),
  ]);
  for (const line of alignColumns([['SETTING', 'VALUE', 'FROM'], ...rows])) {
    context.output.line(line);
  }
  context.output.line();
}

/** A secret's presence is shown, never the secret. */
function maskedText(entry: ResolvedSetting): string | null {
  if (entry.text === null) return null;
  return settingEntry(entry.name).secret ? '(hidden)' : entry.text.replaceAll('\n', ',');
}

function sourceText(source: SettingSource): string {
  switch (source.kind) {
    case 'flag':
      return 'flag';
    case 'env':
      return `environment (${source.name})`;
    case 'file':
      return source.path;
    case 'default':
      return 'default';
  }
}
