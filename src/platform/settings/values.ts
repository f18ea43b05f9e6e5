/**
 * From text to typed values: one parser for each type of setting, whatever source the text came
 * from. A parser returns null for text that is not of its type; the caller names the setting.
 */
import { isIP } from 'node:net';
import { parseSiteName, type SiteName } from '../../core/ids.ts';
import { parseDurationMs, parseSizeBytes } from '../../core/units.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** A part of a file system: so much of a hundred, or so many bytes. */
export type Share =
  | { readonly kind: 'percent'; readonly percent: number }
  | { readonly kind: 'bytes'; readonly bytes: number };

/** The brake on deletes: whichever of the two is larger. */
export interface MassDelete {
  readonly count: number;
  readonly percent: number;
}

/** What a value of each type is in code. Durations are ms, sizes and rates bytes. */
export interface ValueTypes {
  string: string;
  path: string;
  site: SiteName;
  url: string;
  'peer-url': string;
  'database-url': string;
  duration: number;
  days: number;
  rate: number;
  share: Share;
  'mass-delete': MassDelete;
  bool: boolean;
  address: ListenAddress;
  cidrs: readonly string[];
  globs: readonly string[];
  deletes: 'either' | 'holder';
  owners: 'auto' | 'on' | 'off';
  'log-level': 'debug' | 'info' | 'warn' | 'error';
  'log-format': 'auto' | 'json' | 'human';
}
export type ValueType = keyof ValueTypes;

interface TypeEntry<T> {
  /** How a value is written, for help and messages. */
  readonly form: string;
  parse(text: string): T | null;
}

const oneOf = <T extends string>(...choices: readonly T[]): TypeEntry<T> => ({
  form: choices.join('|'),
  parse: (text) => choices.find((choice) => choice === text) ?? null,
});

/** The port of the peer listener where an address names none. */
export const DEFAULT_PEER_PORT = 7443;

export const VALUE_TYPES: { readonly [T in ValueType]: TypeEntry<ValueTypes[T]> } = {
  string: { form: 'text', parse: (text) => (text === '' ? null : text) },
  path: { form: 'path', parse: (text) => (text === '' || text.includes('\0') ? null : text) },
  site: { form: 'name (a-z, 0-9, -)', parse: parseSiteName },
  url: { form: 'http(s)://host[:port][/path]', parse: parsePublicUrl },
  'peer-url': { form: 'https://host[:port]', parse: parsePeerUrl },
  'database-url': { form: 'postgres://user@host/database', parse: parseDatabaseUrl },
  duration: { form: 'duration such as 250ms, 6s, 5m', parse: parseDurationMs },
  days: { form: 'days', parse: parseDays },
  rate: { form: 'bytes per second such as 50MiB', parse: positiveSize },
  share: { form: 'percentage or size such as 5% or 20GiB', parse: parseShare },
  'mass-delete': { form: 'count,percentage such as 100,10%', parse: parseMassDelete },
  bool: { form: 'true|false', parse: parseBool },
  address: { form: 'host:port', parse: parseListenAddress },
  cidrs: { form: 'addresses such as 10.0.0.0/8,192.0.2.7', parse: parseCidrs },
  globs: { form: 'glob patterns', parse: splitGlobs },
  deletes: oneOf('either', 'holder'),
  owners: oneOf('auto', 'on', 'off'),
  'log-level': oneOf('debug', 'info', 'warn', 'error'),
  'log-format': oneOf('auto', 'json', 'human'),
};

/** `host:port`, `[::1]:port`, `:port` or a bare port (all addresses). Port 0: the kernel chooses. */
export function parseListenAddress(text: string): ListenAddress | null {
  const match = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]*)):)?(\d{1,5})$/.exec(text.trim());
  if (!match) return null;
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  if (port > 65_535 || (match[1] !== undefined && isIP(match[1]) !== 6)) return null;
  return { host: host === '' ? '0.0.0.0' : host, port };
}

/** `{host: '::1', port: 80}` → `[::1]:80`. */
export function formatAddress(address: ListenAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}

function parsePublicUrl(text: string): string | null {
  const url = parseUrl(text);
  if (!url || !/^https?:$/.test(url.protocol)) return null;
  if (url.search !== '' || url.hash !== '' || url.username !== '') return null;
  return url.href.replace(/\/+$/, '');
}

/** A bare host or host:port is taken as https; the port is 7443 where none is given. */
function parsePeerUrl(text: string): string | null {
  const url = parseUrl(text.includes('://') ? text : `https://${text}`);
  if (url?.protocol !== 'https:' || url.hostname === '') return null;
  if (url.pathname !== '/' || url.search !== '' || url.username !== '') return null;
  // URL drops an explicit :443; keep it, since 7443 and not 443 is what no port means here.
  const port = /:443\/?$/.test(text) ? '443' : url.port || String(DEFAULT_PEER_PORT);
  return `https://${url.hostname}:${port}`;
}

function parseDatabaseUrl(text: string): string | null {
  const url = parseUrl(text);
  return url && /^postgres(ql)?:$/.test(url.protocol) ? text : null;
}

function parseDays(text: string): number | null {
  const match = /^(\d{1,5}(?:\.\d+)?)d?$/.exec(text.trim());
  const days = Number(match?.[1]);
  return match && days > 0 ? days : null;
}

function positiveSize(text: string): number | null {
  const bytes = parseSizeBytes(text.replace(/\/s$/, ''));
  return bytes !== null && bytes > 0 ? bytes : null;
}

function parsePercent(text: string): number | null {
  const match = /^(\d{1,3}(?:\.\d+)?)\s*%$/.exec(text.trim());
  const percent = Number(match?.[1]);
  return match && percent <= 100 ? percent : null;
}

function parseShare(text: string): Share | null {
  const percent = parsePercent(text);
  if (percent !== null) return { kind: 'percent', percent };
  const bytes = parseSizeBytes(text);
  return bytes === null ? null : { kind: 'bytes', bytes };
}

function parseMassDelete(text: string): MassDelete | null {
  const [count = '', share = '', ...rest] = text.split(',');
  const percent = parsePercent(share);
  if (!/^\s*\d{1,9}\s*$/.test(count) || percent === null || rest.length > 0) return null;
  return { count: Number(count), percent };
}

function parseBool(text: string): boolean | null {
  if (/^(true|yes|on|1)$/i.test(text)) return true;
  return /^(false|no|off|0)$/i.test(text) ? false : null;
}

function parseCidrs(text: string): readonly string[] | null {
  const parts = text.split(/[\s,]+/).filter((part) => part !== '');
  const cidrs = parts.map(parseCidr);
  return cidrs.every((cidr) => cidr !== null) && cidrs.length > 0 ? cidrs : null;
}

/** An address alone means itself: `192.0.2.7` → `192.0.2.7/32`. */
function parseCidr(text: string): string | null {
  const [address = '', prefix, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return null;
  const bits = family === 4 ? 32 : 128;
  if (prefix === undefined) return `${address}/${bits}`;
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits ? text : null;
}

/** Splits at commas and line ends that are not inside braces: `*.tmp,{a,b}` → two patterns. */
function splitGlobs(text: string): readonly string[] {
  const globs: string[] = [];
  let depth = 0;
  let glob = '';
  for (const character of text) {
    if ((character === ',' && depth === 0) || character === '\n') {
      globs.push(glob);
      glob = '';
      continue;
    }
    if (character === '{') depth += 1;
    if (character === '}' && depth > 0) depth -= 1;
    glob += character;
  }
  globs.push(glob);
  return globs.map((each) => each.trim()).filter((each) => each !== '');
}
