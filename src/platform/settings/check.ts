/** What `config check` looks at beyond the values themselves: paths, permissions, contradictions. */
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';
import { describeError, systemCode } from '../../core/errors.ts';
import type { PairIdentity } from '../../core/identity.ts';
import { timerLawViolation } from '../../core/timers.ts';
import { identityFile, siteNames, timersOf, toConfig } from './config.ts';
import type { ResolvedSettings } from './resolve.ts';

export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly text: string;
}

const error = (text: string): Finding => ({ severity: 'error', text });
const warning = (text: string): Finding => ({ severity: 'warning', text });

/** statfs types of network file systems, on which index and database would be damaged. */
const NETWORK_FILE_SYSTEMS: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'CIFS',
  4266872130: 'SMB2',
};

/**
 * Everything that would stop `serve` or surprise its administrator, without changing anything.
 * `readIdentity` is the link's reader; it throws what is wrong with the file.
 */
export async function checkSettings(
  settings: ResolvedSettings,
  readIdentity: (file: string) => Promise<PairIdentity>,
): Promise<readonly Finding[]> {
  const { values } = settings;
  const law = timerLawViolation(timersOf(values));
  const findings = await Promise.all([
    checkData(values.data),
    checkStore(values.store, '--store'),
    checkStore(values['peer-store'], '--peer-store'),
    checkFilestore(values.filestore),
    checkReadable(values['tls-cert'], '--tls-cert'),
    checkReadable(values['tls-key'], '--tls-key'),
    checkReadable(values['pg-bin'], '--pg-bin'),
    checkIdentity(settings, readIdentity),
  ]);
  const same = values.store !== null && values.store === values['peer-store'];
  const texts = new Set<string>();
  const whole = [...(law === null ? [] : [error(law)]), ...checkWhole(settings)];
  const once = [...whole, ...findings.flat()].filter(({ text }) => {
    // The law may be told twice, as a sentence and as part of one.
    const known = texts.has(text.replace(/\.$/, ''));
    texts.add(text.replace(/\.$/, ''));
    return !known;
  });
  return [
    ...once,
    ...(same ? [error('--store and --peer-store are the same directory')] : []),
    ...settings.warnings.map(warning),
  ];
}

/** What toConfig refuses: missing and contradictory settings. */
function checkWhole(settings: ResolvedSettings): readonly Finding[] {
  try {
    toConfig(settings);
    return [];
  } catch (cause) {
    return [error(describeError(cause))];
  }
}

async function checkIdentity(
  settings: ResolvedSettings,
  readIdentity: (file: string) => Promise<PairIdentity>,
): Promise<readonly Finding[]> {
  const { values } = settings;
  const file = identityFile(values);
  const named = { site: values.site, peerUrl: values.peer, identityFile: file };
  try {
    siteNames(named, file === null ? null : await readIdentity(file));
    return file === null
      ? [warning('there is no identity: this site runs alone (see twinsite pair)')]
      : [];
  } catch (cause) {
    return [error(describeError(cause))];
  }
}

/** The directory itself, or where it would be made. */
async function checkData(directory: string): Promise<readonly Finding[]> {
  const existing = await nearestExisting(directory);
  const type = await fs.statfs(existing).then(
    (found) => NETWORK_FILE_SYSTEMS[found.type],
    () => undefined,
  );
  if (type !== undefined) {
    return [error(`--data ${directory} is on ${type}; it must be on a local disk`)];
  }
  return (await isWritable(existing))
    ? []
    : [error(`--data ${directory}: this user may not write in ${existing}`)];
}

async function checkStore(directory: string | null, flag: string): Promise<readonly Finding[]> {
  if (directory === null) return [];
  const found = await fs.stat(directory).catch(() => null);
  if (found === null) return [error(`${flag} ${directory} does not exist, or is not mounted`)];
  if (!found.isDirectory()) return [error(`${flag} ${directory} is no directory`)];
  if (!(await isWritable(directory))) {
    return [error(`${flag} ${directory}: this user may not write in it`)];
  }
  const root = await fs.stat('/');
  return found.dev === root.dev
    ? [warning(`${flag} ${directory} is on the file system of /: is the SAN not mounted?`)]
    : [];
}

async function checkFilestore(link: string | null): Promise<readonly Finding[]> {
  if (link === null) return [];
  const parent = path.dirname(link);
  const found = await fs.lstat(link).catch(() => null);
  if (found !== null && !found.isSymbolicLink()) {
    return [
      error(
        `--filestore ${link} exists and is no symbolic link. Stop what uses it, move its content into the store, and remove it`,
      ),
    ];
  }
  return (await isWritable(parent))
    ? []
    : [
        error(
          `--filestore ${link}: the link is changed by a rename, and this user may not write in ${parent}`,
        ),
      ];
}

async function checkReadable(file: string | null, flag: string): Promise<readonly Finding[]> {
  if (file === null) return [];
  return await fs.access(file, constants.R_OK).then(
    () => [],
    (cause: unknown) => [error(`${flag} ${file} cannot be read (${systemCode(cause) ?? cause})`)],
  );
}

async function isWritable(directory: string): Promise<boolean> {
  return await fs.access(directory, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function nearestExisting(directory: string): Promise<string> {
  let current = directory;
  while (current !== '/') {
    if (await fs.stat(current).catch(() => null)) return current;
    current = path.dirname(current);
  }
  return current;
}
