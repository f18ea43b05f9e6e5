/**
 * Settings from their four sources: flag > environment > file > default. Every value keeps where it
 * came from, so that `config check` can say so and an error can name it.
 */
import path from 'node:path';
import { AppError } from '../../core/errors.ts';
import { nearestName } from '../../core/nearest-name.ts';
import {
  environmentName,
  SETTING_NAMES,
  type SettingName,
  type SettingValues,
  settingEntry,
} from './table.ts';
import { VALUE_TYPES } from './values.ts';

export type SettingSource =
  | { readonly kind: 'flag' }
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'default' };

/** What a source gave for a setting: text, or null for an explicit "none". */
interface RawSetting {
  readonly text: string | null;
  readonly source: SettingSource;
}

export interface ResolvedSetting {
  readonly name: SettingName;
  /** As written; null when unset. Secret ones are not masked here. */
  readonly text: string | null;
  readonly source: SettingSource;
}

export interface ResolvedSettings {
  readonly values: SettingValues;
  /** In the table's order. */
  readonly entries: readonly ResolvedSetting[];
  readonly configFile: string | null;
  /** Things that are no error but may surprise. */
  readonly warnings: readonly string[];
}

/** Flags as the command line gave them, by setting name. Lists are joined by line ends. */
export type FlagValues = Readonly<Partial<Record<SettingName, string>>>;
export type Environment = Readonly<Record<string, string | undefined>>;

export interface ResolveInput {
  readonly flags: FlagValues;
  readonly env: Environment;
  /** Paths given by flag or environment are relative to this. */
  readonly cwd: string;
  /** The configuration file, already found and read; null for none. */
  readonly file: { readonly path: string; readonly text: string } | null;
}

/** Throws AppError `config` that names the first wrong setting, its source and the expected form. */
export function resolveSettings(input: ResolveInput): ResolvedSettings {
  const fromFile = input.file ? readToml(input.file) : new Map<SettingName, RawSetting>();
  const { known: fromEnv, warnings } = readEnvironment(input.env);
  const entries: ResolvedSetting[] = [];
  const values: Partial<Record<SettingName, unknown>> = {};
  for (const name of SETTING_NAMES) {
    const raw = firstOf(
      flagSetting(input.flags, name),
      fromEnv.get(name),
      fromFile.get(name),
      name === 'config' && input.file ? { text: input.file.path, source: DEFAULT } : undefined,
    ) ?? { text: settingEntry(name).default, source: DEFAULT };
    values[name] = parseSetting(name, raw, input);
    const isPath = settingEntry(name).type === 'path' && values[name] !== null;
    entries.push({ name, text: isPath ? String(values[name]) : raw.text, source: raw.source });
  }
  // Each value was made by the parser of its own type, which is what SettingValues says.
  return {
    values: values as SettingValues,
    entries,
    configFile: input.file?.path ?? null,
    warnings,
  };
}

const DEFAULT: SettingSource = { kind: 'default' };

function firstOf<T>(...candidates: readonly (T | undefined)[]): T | undefined {
  return candidates.find((candidate) => candidate !== undefined);
}

function flagSetting(flags: FlagValues, name: SettingName): RawSetting | undefined {
  const text = flags[name];
  return text === undefined ? undefined : { text, source: { kind: 'flag' } };
}

function parseSetting(name: SettingName, raw: RawSetting, input: ResolveInput): unknown {
  if (raw.text === null) return null;
  const entry = settingEntry(name);
  if (entry.default === null && !entry.required && /^(none|off)$/.test(raw.text)) return null;
  const type = VALUE_TYPES[entry.type];
  const value = type.parse(raw.text);
  if (value === null) {
    const shown = entry.secret ? '(hidden)' : JSON.stringify(raw.text);
    throw new AppError(
      'config',
      `${settingSourceText(name, raw.source)} is ${shown}, which is no ${type.form}. Correct it`,
    );
  }
  if (entry.type !== 'path') return value;
  const base = raw.source.kind === 'file' ? path.dirname(raw.source.path) : input.cwd;
  return path.resolve(base, raw.text);
}

/** How a message names a setting: by the spelling of the source that gave it. */
export function settingSourceText(name: SettingName, source: SettingSource): string {
  switch (source.kind) {
    case 'env':
      return source.name;
    case 'file':
      return `${name} in ${source.path}`;
    case 'flag':
    case 'default':
      return `--${name}`;
  }
}

function didYouMean(name: string | null, prefix = ''): string {
  return name === null ? '' : ` (did you mean ${prefix}${name}?)`;
}

function readToml(file: { readonly path: string; readonly text: string }) {
  const found = new Map<SettingName, RawSetting>();
  for (const [key, value] of Object.entries(parseToml(file))) {
    const name = key.replaceAll('_', '-');
    const known = SETTING_NAMES.find((each) => each === name && each !== 'config');
    if (!known) {
      const nearest = nearestName(name, SETTING_NAMES);
      throw new AppError(
        'config',
        `${file.path} has the unknown key '${key}'${didYouMean(nearest)}. Remove or correct it`,
      );
    }
    if (found.has(known)) {
      throw new AppError('config', `${file.path} sets '${known}' twice. Remove one of the two`);
    }
    found.set(known, {
      text: tomlText(known, value, file.path),
      source: { kind: 'file', path: file.path },
    });
  }
  return found;
}

function parseToml(file: { readonly path: string; readonly text: string }): object {
  try {
    return Bun.TOML.parse(file.text);
  } catch (error) {
    const line = (error as { line?: unknown }).line;
    const where = typeof line === 'number' ? `${file.path}:${line}` : file.path;
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError('config', `${where} is no valid TOML: ${reason}. Correct the file`);
  }
}

function tomlText(name: SettingName, value: unknown, file: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const type = settingEntry(name).type;
  const isList = type === 'globs' || type === 'cidrs';
  if (isList && Array.isArray(value) && value.every((each) => typeof each === 'string')) {
    return value.join('\n');
  }
  const form = isList ? 'a list of strings' : `a string (${VALUE_TYPES[type].form})`;
  throw new AppError('config', `${name} in ${file} must be ${form}. Correct it`);
}

/** Empty variables count as unset. A name close to a setting's is a mistake, any other not ours. */
function readEnvironment(env: Environment) {
  const known = new Map<SettingName, RawSetting>();
  const warnings: string[] = [];
  const names = new Map(SETTING_NAMES.map((name) => [environmentName(name), name]));
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('TWINSITE_') || text === undefined || text === '') continue;
    const name = names.get(variable);
    if (name) {
      known.set(name, { text, source: { kind: 'env', name: variable } });
      continue;
    }
    const nearest = nearestName(variable.slice('TWINSITE_'.length), [
      ...[...names.keys()].map((each) => each.slice('TWINSITE_'.length)),
    ]);
    if (nearest) {
      const hint = didYouMean(nearest, 'TWINSITE_');
      throw new AppError('config', `${variable} is no setting${hint}. Correct or unset it`);
    }
    warnings.push(`${variable} is no setting and is not used`);
  }
  return { known, warnings };
}
