/**
 * THE table of settings. Flags, TWINSITE_… variables, TOML keys, defaults, help, the sample file and
 * docs/configuration.md are all made from it.
 */
import type { ValueType, ValueTypes } from './values.ts';

export type SettingGroup = (typeof SETTING_GROUPS)[number];

export interface SettingEntry {
  readonly type: ValueType;
  /** As a person would write it; null: unset. */
  readonly default: string | null;
  /** What the value is called in help, e.g. DIR. */
  readonly placeholder?: string;
  /** Masked wherever settings are printed. */
  readonly secret?: boolean;
  /** Serve does not start without it. */
  readonly required?: boolean;
  /** Overrides how the default reads in help and documents. */
  readonly defaultText?: string;
  readonly group: SettingGroup;
  readonly help: string;
}

export const SETTING_GROUPS = [
  'Files of this site',
  'The pair',
  'Listeners',
  'Database',
  'Failover',
  'Replicated files',
  'Limits',
  'Log',
] as const;

export const SETTINGS = {
  config: {
    type: 'path',
    default: null,
    placeholder: 'FILE',
    defaultText: '/etc/twinsite/twinsite.toml if there',
    group: 'Files of this site',
    help: 'configuration file in TOML',
  },
  data: {
    type: 'path',
    default: '/var/lib/twinsite',
    placeholder: 'DIR',
    group: 'Files of this site',
    help: 'local disk for index, database, epoch and journals; NFS and SMB are refused',
  },
  store: {
    type: 'path',
    default: null,
    placeholder: 'DIR',
    required: true,
    group: 'Files of this site',
    help: "this site's store: a directory on its SAN or disk",
  },
  filestore: {
    type: 'path',
    default: null,
    placeholder: 'PATH',
    required: true,
    group: 'Files of this site',
    help: 'the symbolic link that applications use; made if missing',
  },
  'peer-store': {
    type: 'path',
    default: null,
    placeholder: 'DIR',
    group: 'Files of this site',
    help: "this host's mount of the peer's store, where both stores are mounted at both hosts",
  },
  identity: {
    type: 'path',
    default: null,
    placeholder: 'FILE',
    defaultText: '<data>/identity.pem if there',
    group: 'The pair',
    help: 'identity made by `twinsite pair`, mode 0600; without one the site runs alone',
  },
  site: {
    type: 'site',
    default: null,
    placeholder: 'NAME',
    defaultText: 'from the identity; a without one',
    group: 'The pair',
    help: "this site's name; must agree with the identity",
  },
  peer: {
    type: 'peer-url',
    default: null,
    placeholder: 'URL',
    defaultText: 'from the identity',
    group: 'The pair',
    help: 'where to dial the peer, if not where the identity says',
  },
  listen: {
    type: 'address',
    default: '0.0.0.0:8080',
    placeholder: 'ADDRESS',
    group: 'Listeners',
    help: 'public HTTP',
  },
  'peer-listen': {
    type: 'address',
    default: '0.0.0.0:7443',
    placeholder: 'ADDRESS',
    group: 'Listeners',
    help: "the peer's one port, mutual TLS",
  },
  'agent-listen': {
    type: 'address',
    default: null,
    placeholder: 'ADDRESS',
    group: 'Listeners',
    help: 'HAProxy agent-check',
  },
  'ops-listen': {
    type: 'address',
    default: null,
    placeholder: 'ADDRESS',
    group: 'Listeners',
    help: 'a listener of their own for /metrics and /status',
  },
  'public-url': {
    type: 'url',
    default: null,
    placeholder: 'URL',
    group: 'Listeners',
    help: 'what users call this service; makes links absolute',
  },
  'tls-cert': {
    type: 'path',
    default: null,
    placeholder: 'FILE',
    group: 'Listeners',
    help: 'certificate chain (PEM): the public listener speaks https',
  },
  'tls-key': {
    type: 'path',
    default: null,
    placeholder: 'FILE',
    group: 'Listeners',
    help: 'key (PEM) of --tls-cert',
  },
  'trusted-proxies': {
    type: 'cidrs',
    default: null,
    placeholder: 'CIDR,...',
    group: 'Listeners',
    help: 'load balancers whose forwarded headers are believed',
  },
  'require-tls': {
    type: 'bool',
    default: 'false',
    group: 'Listeners',
    help: 'refuse credentials that arrive in clear',
  },
  database: {
    type: 'database-url',
    default: null,
    placeholder: 'URL',
    secret: true,
    defaultText: 'embedded',
    group: 'Database',
    help: 'an external PostgreSQL 16 or later on this host',
  },
  'pg-bin': {
    type: 'path',
    default: null,
    placeholder: 'DIR',
    defaultText: 'embedded',
    group: 'Database',
    help: 'run the PostgreSQL found in this directory instead of the embedded one',
  },
  'pg-user': {
    type: 'string',
    default: null,
    placeholder: 'NAME',
    defaultText: "the owner of --data's parent",
    group: 'Database',
    help: 'who PostgreSQL runs as when Twinsite runs as root',
  },
  'tunnel-socket': {
    type: 'path',
    default: null,
    placeholder: 'DIR',
    defaultText: '/run/twinsite',
    group: 'Database',
    help: "where an external server's processes reach the peer",
  },
  'require-both': {
    type: 'bool',
    default: 'false',
    group: 'Failover',
    help: 'refuse deposits that cannot be durable at both sites',
  },
  heartbeat: {
    type: 'duration',
    default: '250ms',
    placeholder: 'DURATION',
    group: 'Failover',
    help: 'time between heartbeats',
  },
  'suspect-after': {
    type: 'duration',
    default: '750ms',
    placeholder: 'DURATION',
    group: 'Failover',
    help: 'silence that makes the peer suspect',
  },
  'degrade-after': {
    type: 'duration',
    default: '1500ms',
    placeholder: 'DURATION',
    group: 'Failover',
    help: 'longest wait of a deposit for the peer; then its receipt says local',
  },
  'lost-after': {
    type: 'duration',
    default: '6s',
    placeholder: 'DURATION',
    group: 'Failover',
    help: 'silence after which the peer is lost and this site takes over',
  },
  'rearm-after': {
    type: 'duration',
    default: '5s',
    placeholder: 'DURATION',
    group: 'Failover',
    help: 'good time before deposits wait for the peer again',
  },
  'start-alone-after': {
    type: 'duration',
    default: '15s',
    placeholder: 'DURATION',
    group: 'Failover',
    help: 'how long a starting site looks for its peer before it serves alone',
  },
  'auto-failback': {
    type: 'duration',
    default: null,
    placeholder: 'DURATION',
    defaultText: 'off',
    group: 'Failover',
    help: 'give the holder back this long after the site that had it returned',
  },
  settle: {
    type: 'duration',
    default: '50ms',
    placeholder: 'DURATION',
    group: 'Replicated files',
    help: "how long an application's file must be quiet before it is sent",
  },
  ignore: {
    type: 'globs',
    default: null,
    placeholder: 'GLOB',
    defaultText: 'none beyond .twinsite, .nfs*, and lost+found and .snapshot at the root',
    group: 'Replicated files',
    help: 'names not to replicate, equal at both sites; ignored is not deleted',
  },
  deletes: {
    type: 'deletes',
    default: 'either',
    placeholder: 'WHO',
    group: 'Replicated files',
    help: 'whose deletes count: either site or only the holder',
  },
  owners: {
    type: 'owners',
    default: 'auto',
    placeholder: 'MODE',
    group: 'Replicated files',
    help: 'keep owner and group by number; auto: when this process may',
  },
  'mass-delete': {
    type: 'mass-delete',
    default: '100,10%',
    placeholder: 'N,P%',
    group: 'Replicated files',
    help: 'deletes in any 60 s that are held for a person; the larger of the two',
  },
  'trash-days': {
    type: 'days',
    default: '30',
    placeholder: 'DAYS',
    group: 'Limits',
    help: 'how long replaced and deleted versions are kept',
  },
  'trash-max': {
    type: 'share',
    default: '10%',
    placeholder: 'SHARE',
    group: 'Limits',
    help: 'most space for them, of the file system or in bytes',
  },
  'scrub-days': {
    type: 'days',
    default: '30',
    placeholder: 'DAYS',
    group: 'Limits',
    help: 'every file is read again within this time',
  },
  'peer-bandwidth': {
    type: 'rate',
    default: null,
    placeholder: 'RATE',
    defaultText: 'none',
    group: 'Limits',
    help: 'most bytes per second to the peer',
  },
  'min-free': {
    type: 'share',
    default: '5%',
    placeholder: 'SHARE',
    group: 'Limits',
    help: 'free space in the store below which deposits are refused',
  },
  'log-level': {
    type: 'log-level',
    default: 'info',
    placeholder: 'LEVEL',
    group: 'Log',
    help: 'least level that is written',
  },
  'log-format': {
    type: 'log-format',
    default: 'auto',
    placeholder: 'FORMAT',
    group: 'Log',
    help: 'auto: readable on a terminal, JSON lines in a pipe',
  },
} as const satisfies Readonly<Record<string, SettingEntry>>;

export type SettingName = keyof typeof SETTINGS;
export const SETTING_NAMES = Object.keys(SETTINGS) as readonly SettingName[];

type Table = typeof SETTINGS;
/** All settings, parsed. Those without a default may be null. */
export type SettingValues = {
  readonly [N in SettingName]:
    | ValueTypes[Table[N]['type']]
    | (Table[N]['default'] extends null ? null : never);
};

/** The entry of a name, with every optional field readable. */
export function settingEntry(name: SettingName): SettingEntry {
  return SETTINGS[name];
}

/** `peer-store` → `TWINSITE_PEER_STORE`. */
export function environmentName(name: SettingName): string {
  return `TWINSITE_${name.replaceAll('-', '_').toUpperCase()}`;
}

/** The default as people read it. */
export function defaultText(name: SettingName): string {
  const entry = settingEntry(name);
  if (entry.required) return 'required';
  if (entry.type === 'bool') return entry.default === 'true' ? 'on' : 'off';
  return entry.defaultText ?? entry.default ?? 'none';
}
