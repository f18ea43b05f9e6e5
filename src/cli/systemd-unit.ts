/** The text of the systemd unit. Pure: everything it depends on is an argument. */

export interface UnitInput {
  /** Absolute. */
  readonly binary: string;
  /** After the binary, e.g. ['serve', '--store', '/srv/san']. */
  readonly args: readonly string[];
  readonly user: string;
  readonly dataDir: string;
  /** Directories that may be mount points; the unit starts after their mounts. */
  readonly mounts: readonly string[];
  /** Paths the service works in; a private /tmp must not hide one of them. */
  readonly workPaths: readonly string[];
  readonly bindsLowPort: boolean;
}

/** Where `StateDirectory=` puts things. */
const STATE_DIRECTORY = '/var/lib/twinsite';

/**
 * systemd's name of a mount unit: `/home/user/san_A` → `home-user-san_A.mount`. Bytes outside
 * `A-Z a-z 0-9 : _ .` become `\xNN`, and so does a leading dot.
 */
export function mountUnitName(directory: string): string {
  const trimmed = directory
    .split('/')
    .filter((part) => part !== '')
    .join('/');
  if (trimmed === '') return '-.mount';
  let name = '';
  for (const [index, byte] of new TextEncoder().encode(trimmed).entries()) {
    const character = String.fromCharCode(byte);
    if (character === '/') name += '-';
    else if (/[A-Za-z0-9:_]/.test(character) || (character === '.' && index > 0)) name += character;
    else name += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return `${name}.mount`;
}

/** One word of ExecStart: quoted where needed, with systemd's own % and $ escaped. */
export function unitWord(word: string): string {
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  if (/^[A-Za-z0-9_@%+=:,./$~*-]+$/.test(escaped)) return escaped;
  const quoted = escaped
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\t', '\\t');
  return `"${quoted}"`;
}

/** The whole unit file. */
export function renderUnit(input: UnitInput): string {
  const after = ['network-online.target', ...new Set(input.mounts.map(mountUnitName))];
  const isRoot = input.user === 'root';
  const lines = [
    '# Made by `twinsite systemd`. Put it at /etc/systemd/system/twinsite.service, then:',
    '#   systemctl daemon-reload && systemctl enable --now twinsite',
    '[Unit]',
    'Description=Twinsite: one of two identical sites of a deposit service',
    `After=${after.join(' ')}`,
    'Wants=network-online.target',
    '# It is started again for as long as it takes; only a wrong configuration ends that.',
    'StartLimitIntervalSec=0',
    ...(input.mounts.length > 0
      ? [
          '# After=, not RequiresMountsFor=: a lost SAN must not stop the service, which then moves the link.',
        ]
      : []),
    '',
    '[Service]',
    'Type=notify',
    'NotifyAccess=main',
    'WatchdogSec=15',
    '# Whoever owns the filestore, so that the applications of both sites can use every file.',
    `User=${input.user}`,
    `ExecStart=${[input.binary, ...input.args].map(unitWord).join(' ')}`,
    'Restart=on-failure',
    'RestartSec=1',
    'RestartPreventExitStatus=2',
    'KillMode=mixed',
    'TimeoutStartSec=120',
    'TimeoutStopSec=45',
    'RuntimeDirectory=twinsite',
    'RuntimeDirectoryMode=0750',
    ...(input.dataDir === STATE_DIRECTORY
      ? ['StateDirectory=twinsite', 'StateDirectoryMode=0700']
      : []),
    '# What the binary carries is unpacked and run from here, also where /tmp is noexec.',
    'CacheDirectory=twinsite',
    'CacheDirectoryMode=0700',
    'Environment=TMPDIR=%C/twinsite',
    'UnsetEnvironment=BUN_OPTIONS BUN_BE_BUN',
    'LimitNOFILE=65536',
    '',
    ...sandbox(input, isRoot),
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ];
  return `${lines.join('\n')}\n`;
}

function sandbox(input: UnitInput, isRoot: boolean): string[] {
  const hidden = input.workPaths.some((each) => /^\/(?:var\/)?tmp(?:\/|$)/.test(each));
  const capabilities = [
    ...(isRoot
      ? ['CAP_CHOWN', 'CAP_FOWNER', 'CAP_DAC_OVERRIDE', 'CAP_KILL', 'CAP_SETUID', 'CAP_SETGID']
      : []),
    ...(input.bindsLowPort ? ['CAP_NET_BIND_SERVICE'] : []),
  ];
  return [
    '# No ReadWritePaths=, BindPaths= or ProtectHome=: a mount of our own below a store would keep a',
    '# dead SAN in use after the host has mounted another.',
    'ProtectSystem=full',
    ...(hidden ? [] : ['PrivateTmp=yes']),
    'PrivateDevices=yes',
    'ProtectClock=yes',
    'ProtectControlGroups=yes',
    'ProtectHostname=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
    // Root must see the PostgreSQL that runs as another user.
    ...(isRoot ? [] : ['ProtectProc=invisible']),
    'NoNewPrivileges=yes',
    `CapabilityBoundingSet=${capabilities.join(' ')}`,
    ...(input.bindsLowPort && !isRoot ? ['AmbientCapabilities=CAP_NET_BIND_SERVICE'] : []),
    'KeyringMode=private',
    'LockPersonality=yes',
    '# Not RestrictSUIDSGID=: setgid directories are replicated like any other.',
    'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
    'RestrictNamespaces=yes',
    'RestrictRealtime=yes',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service',
    'SystemCallErrorNumber=EPERM',
  ];
}
