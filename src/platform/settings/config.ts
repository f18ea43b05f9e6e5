/** The one typed configuration that `serve` works from. Below it nobody sees flags or environment. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { AppError, systemCode } from '../../core/errors.ts';
import type { PairIdentity } from '../../core/identity.ts';
import type { SiteName } from '../../core/ids.ts';
import type { LogLevel } from '../../core/ports.ts';
import { checkTimers, type Timers } from '../../core/timers.ts';
import {
  type Environment,
  type FlagValues,
  type ResolvedSettings,
  resolveSettings,
} from './resolve.ts';
import { environmentName, type SettingName, type SettingValues } from './table.ts';
import type { ListenAddress, MassDelete, Share } from './values.ts';

export const DEFAULT_CONFIG_FILE = '/etc/twinsite/twinsite.toml';

export type DatabaseConfig =
  | {
      readonly mode: 'embedded';
      /** A directory with initdb and postgres to use instead of the shipped ones. */
      readonly binDir: string | null;
      /** Who PostgreSQL runs as when this process is root. */
      readonly user: string | null;
    }
  | { readonly mode: 'external'; readonly url: string; readonly tunnelSocketDir: string };

/** All paths are absolute. */
export interface Config {
  /** The configuration file that was read; null for none. */
  readonly configFile: string | null;
  readonly dataDir: string;
  /** Null: no identity, the site runs alone. */
  readonly identityFile: string | null;
  /** As configured; see `siteNames` for what holds together with the identity. */
  readonly site: SiteName | null;
  /** As configured: `https://host:port`; null means the identity's. */
  readonly peerUrl: string | null;
  readonly storeDir: string;
  readonly filestorePath: string;
  readonly peerStoreDir: string | null;
  readonly listen: ListenAddress;
  readonly peerListen: ListenAddress;
  readonly agentListen: ListenAddress | null;
  readonly opsListen: ListenAddress | null;
  /** Without a trailing slash. */
  readonly publicUrl: string | null;
  /** PEM files; null: plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  /** CIDRs, each with its prefix length. */
  readonly trustedProxies: readonly string[];
  readonly requireTls: boolean;
  readonly database: DatabaseConfig;
  readonly requireBoth: boolean;
  /** Within the timer law. */
  readonly timers: Timers;
  /** Null: never by itself. */
  readonly autoFailbackMs: number | null;
  readonly settleMs: number;
  /** Patterns to add to those that are always ignored (core/ignore.ts). */
  readonly ignore: readonly string[];
  readonly deletes: 'either' | 'holder';
  readonly owners: 'auto' | 'on' | 'off';
  readonly massDelete: MassDelete;
  readonly trashDays: number;
  readonly trashMax: Share;
  readonly scrubDays: number;
  /** Bytes per second; null: no limit. */
  readonly peerBandwidth: number | null;
  readonly minFree: Share;
  readonly log: { readonly level: LogLevel; readonly format: 'auto' | 'json' | 'human' };
}

export interface ConfigInput {
  readonly flags: FlagValues;
  readonly env: Environment;
  readonly cwd: string;
  /** For tests; the file that is read when none is named. */
  readonly defaultFile?: string;
}

/** Finds and reads the configuration file, then resolves every setting. Throws AppError `config`. */
export function loadSettings(input: ConfigInput): ResolvedSettings {
  const named = input.flags.config ?? (input.env[environmentName('config')] || undefined);
  const file = path.resolve(input.cwd, named ?? input.defaultFile ?? DEFAULT_CONFIG_FILE);
  const text = readConfigFile(file, named !== undefined);
  return resolveSettings({
    flags: input.flags,
    env: input.env,
    cwd: input.cwd,
    file: text === null ? null : { path: file, text },
  });
}

function readConfigFile(file: string, mustExist: boolean): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' && !mustExist) return null;
    const reason = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code ?? error})`;
    throw new AppError(
      'config',
      `the configuration file ${file} ${reason}. Correct --config, or the file's permissions`,
    );
  }
}

/** The configuration for `serve`. Throws AppError `config` for what is missing or contradicts itself. */
export function toConfig(settings: ResolvedSettings): Config {
  const values = settings.values;
  return {
    configFile: settings.configFile,
    dataDir: values.data,
    identityFile: identityFile(values),
    site: values.site,
    peerUrl: values.peer,
    storeDir: required(values, 'store'),
    filestorePath: required(values, 'filestore'),
    peerStoreDir: values['peer-store'],
    listen: values.listen,
    peerListen: values['peer-listen'],
    agentListen: values['agent-listen'],
    opsListen: values['ops-listen'],
    publicUrl: values['public-url'],
    tls: tlsFiles(values),
    trustedProxies: values['trusted-proxies'] ?? [],
    requireTls: values['require-tls'],
    database: databaseConfig(values),
    requireBoth: values['require-both'],
    timers: checkTimers(timersOf(values)),
    autoFailbackMs: values['auto-failback'],
    settleMs: values.settle,
    ignore: values.ignore ?? [],
    deletes: values.deletes,
    owners: values.owners,
    massDelete: values['mass-delete'],
    trashDays: values['trash-days'],
    trashMax: values['trash-max'],
    scrubDays: values['scrub-days'],
    peerBandwidth: values['peer-bandwidth'],
    minFree: values['min-free'],
    log: { level: values['log-level'], format: values['log-format'] },
  };
}

/** The six timers, for the law that binds them. */
export function timersOf(values: SettingValues): Timers {
  return {
    heartbeatMs: values.heartbeat,
    suspectAfterMs: values['suspect-after'],
    degradeAfterMs: values['degrade-after'],
    lostAfterMs: values['lost-after'],
    rearmAfterMs: values['rearm-after'],
    startAloneAfterMs: values['start-alone-after'],
  };
}

/** The identity's path: as configured, else `<data>/identity.pem` if there, else null. */
export function identityFile(values: SettingValues): string | null {
  if (values.identity !== null) return values.identity;
  const usual = path.join(values.data, 'identity.pem');
  return existsSync(usual) ? usual : null;
}

function required(values: SettingValues, name: 'store' | 'filestore'): string {
  const value = values[name];
  if (value !== null) return value;
  const what: Readonly<Record<typeof name, string>> = {
    store: "the directory that holds this site's files",
    filestore: 'the symbolic link that applications use',
  };
  const variable = environmentName(name satisfies SettingName);
  throw new AppError(
    'config',
    `--${name} is missing: ${what[name]}. Give the flag, ${variable} or the key in the configuration file`,
  );
}

function tlsFiles(values: SettingValues): Config['tls'] {
  const certFile = values['tls-cert'];
  const keyFile = values['tls-key'];
  if (certFile === null && keyFile === null) return null;
  if (certFile === null || keyFile === null) {
    const missing = certFile === null ? '--tls-cert' : '--tls-key';
    throw new AppError('config', `${missing} is missing. Give certificate and key, or neither`);
  }
  return { certFile, keyFile };
}

function databaseConfig(values: SettingValues): DatabaseConfig {
  if (values.database === null) {
    return { mode: 'embedded', binDir: values['pg-bin'], user: values['pg-user'] };
  }
  return {
    mode: 'external',
    url: values.database,
    tunnelSocketDir: values['tunnel-socket'] ?? '/run/twinsite',
  };
}

export interface SiteNames {
  readonly site: SiteName;
  /** Null: this site runs alone. */
  readonly peer: SiteName | null;
  /** Where to dial the peer; null when there is none. */
  readonly peerUrl: string | null;
}

/** What a site without identity and without --site is called. */
const LONE_SITE = 'a' as SiteName;

/** The names that hold: the identity's, which the configuration may confirm but not contradict. */
export function siteNames(
  config: Pick<Config, 'site' | 'peerUrl' | 'identityFile'>,
  identity: Pick<PairIdentity, 'site' | 'peer' | 'peerUrl'> | null,
): SiteNames {
  if (identity === null) {
    if (config.peerUrl !== null) {
      throw new AppError(
        'config',
        '--peer is given but there is no identity. Make one for each site with `twinsite pair`, and give it with --identity',
      );
    }
    return { site: config.site ?? LONE_SITE, peer: null, peerUrl: null };
  }
  if (config.site !== null && config.site !== identity.site) {
    throw new AppError(
      'config',
      `--site is ${config.site}, but the identity ${config.identityFile ?? ''} is of site ${identity.site}. Leave --site out, or use the identity of ${config.site}`,
    );
  }
  return {
    site: identity.site,
    peer: identity.peer,
    peerUrl: config.peerUrl ?? identity.peerUrl,
  };
}
