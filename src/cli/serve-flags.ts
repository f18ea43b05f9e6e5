/** The flags of `serve`, made from the table of settings, for every command that takes them. */
import { type Command, Option } from 'commander';
import type { FlagValues } from '../platform/settings/resolve.ts';
import {
  defaultText,
  environmentName,
  SETTING_NAMES,
  type SettingName,
  settingEntry,
} from '../platform/settings/table.ts';

/** Adds one option for each of `names`, in the table's groups. */
export function addServeFlags(
  command: Command,
  names: readonly SettingName[] = SETTING_NAMES,
): Command {
  for (const name of names) {
    const entry = settingEntry(name);
    const isList = entry.type === 'globs';
    const value = entry.placeholder ? ` <${entry.placeholder}${isList ? '...' : ''}>` : '';
    const option = new Option(`--${name}${value}`, `${entry.help} (${defaultText(name)})`);
    const group = `${entry.group}:`;
    command.addOption(option.helpGroup(group));
    if (entry.type === 'bool') {
      command.addOption(new Option(`--no-${name}`).hideHelp().helpGroup(group));
    }
  }
  return command;
}

/** The settings that the command line gave, as text. */
export function flagValues(command: Command): FlagValues {
  const flags: Partial<Record<SettingName, string>> = {};
  const options: Readonly<Record<string, unknown>> = command.opts();
  for (const name of SETTING_NAMES) {
    const attribute = new Option(`--${name}`).attributeName();
    if (command.getOptionValueSource(attribute) !== 'cli') continue;
    const value = options[attribute];
    flags[name] = Array.isArray(value) ? value.join('\n') : String(value);
  }
  return flags;
}

/** The given flags again as arguments, e.g. for a unit file; paths as `absolute` makes them. */
export function flagArguments(
  flags: FlagValues,
  absolute: (path: string) => string,
): readonly string[] {
  return SETTING_NAMES.flatMap((name) => {
    const text = flags[name];
    if (text === undefined) return [];
    const type = settingEntry(name).type;
    if (type === 'bool') return [text === 'true' ? `--${name}` : `--no-${name}`];
    if (type === 'path') return [`--${name}`, absolute(text)];
    return text.split('\n').flatMap((each) => [`--${name}`, each]);
  });
}

/** One line for help: how settings are also given. */
export const SOURCES_HELP = `
Every flag is also an environment variable (--peer-store: ${environmentName('peer-store')}) and a key of the
configuration file (peer-store = "..."). A flag wins over the environment, that over the file.`;
