import { promises as fs } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { AppError } from '../core/errors.ts';
import { isCompiled } from '../platform/self.ts';
import { loadSettings } from '../platform/settings/config.ts';
import type { SettingValues } from '../platform/settings/table.ts';
import { addCommand, type CommandContext, handle, textOption } from './command-shape.ts';
import { EXIT } from './failure.ts';
import { addServeFlags, flagArguments, flagValues } from './serve-flags.ts';
import { renderUnit } from './systemd-unit.ts';

/** Where the binary goes on a host, and what the unit names when this is not the binary itself. */
export const INSTALLED_BINARY = '/usr/local/bin/twinsite';
const FALLBACK_USER = 'twinsite';
const FIRST_FREE_PORT = 1024;

/** `twinsite systemd [serve flags…]`: prints the unit. */
export function registerSystemd(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'systemd',
    summary: 'print a systemd unit that serves with the flags given',
    examples: [
      'systemd --config /etc/twinsite/twinsite.toml > /etc/systemd/system/twinsite.service',
      'systemd --store /srv/san_A --filestore /home/user/filestore --user user',
    ],
  }).option('--user <NAME>', "who it runs as (default: the owner of the filestore's directory)");
  addServeFlags(command);
  handle(command, context, async (options) => {
    const flags = flagValues(command);
    const { values } = loadSettings({ flags, env: context.env, cwd: context.cwd });
    const user = textOption(options, 'user') ?? (await filestoreOwner(values)) ?? FALLBACK_USER;
    const stores = [values.store, values['peer-store']].filter((each) => each !== null);
    const absolute = (text: string) => path.resolve(context.cwd, text);
    const unit = renderUnit({
      binary: isCompiled ? await fs.realpath(process.execPath) : INSTALLED_BINARY,
      args: ['serve', ...flagArguments(flags, absolute)],
      user: checkUser(user),
      dataDir: values.data,
      mounts: await mountPoints(stores),
      workPaths: [...stores, values.data, values.filestore ?? '/'],
      bindsLowPort: [values.listen, values['peer-listen'], values['agent-listen']].some(
        (address) => address !== null && address.port > 0 && address.port < FIRST_FREE_PORT,
      ),
    });
    if (options['json'] === true) context.output.json({ user, unit });
    else context.output.raw(unit);
    return EXIT.ok;
  });
}

function checkUser(user: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(user)) return user;
  throw new AppError('usage', `'${user}' is no user name. Give another with --user`);
}

/** The name (or number) of who owns the directory that holds the link; null when it is not known. */
async function filestoreOwner(values: SettingValues): Promise<string | null> {
  if (values.filestore === null) return null;
  const found = await fs.stat(path.dirname(values.filestore)).catch(() => null);
  if (found === null) return null;
  const users = await fs.readFile('/etc/passwd', 'utf8').catch(() => '');
  const line = users.split('\n').find((each) => each.split(':')[2] === String(found.uid));
  return line?.split(':')[0] ?? String(found.uid);
}

/**
 * Where each directory is mounted, or would be: the longest mount point above it in the mounts of
 * now and in fstab. A directory that only `/` holds counts as a mount point itself: it may be a SAN
 * that is not mounted at the moment.
 */
async function mountPoints(directories: readonly string[]): Promise<readonly string[]> {
  const known = [
    ...(await mountColumn('/proc/self/mounts')),
    ...(await mountColumn('/etc/fstab')),
  ].filter((point) => point !== '/' && point.startsWith('/'));
  return directories.map(
    (directory) =>
      known
        .filter((point) => directory === point || directory.startsWith(`${point}/`))
        .sort((a, b) => b.length - a.length)[0] ?? directory,
  );
}

async function mountColumn(file: string): Promise<readonly string[]> {
  const text = await fs.readFile(file, 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.trim().split(/\s+/)[1] ?? '')
    .map((point) =>
      point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    );
}
