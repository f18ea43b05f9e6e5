import type { Command } from 'commander';
import { loadSettings, toConfig } from '../platform/settings/config.ts';
import type { CommandContext } from './command-shape.ts';
import { addServeFlags, flagValues, SOURCES_HELP } from './serve-flags.ts';

/** `twinsite serve`, which is also what flags without a command mean. */
export function registerServe(program: Command, context: CommandContext): void {
  const command = program
    .command('serve')
    .description('run a site (also when flags are given without a command)')
    .addHelpText(
      'after',
      `${SOURCES_HELP}

Examples:
  twinsite serve --store /srv/san --filestore /home/user/filestore
  twinsite serve --config /etc/twinsite/twinsite.toml --log-level debug`,
    );
  addServeFlags(command);
  command.action(async () => {
    const config = toConfig(
      loadSettings({ flags: flagValues(command), env: context.env, cwd: context.cwd }),
    );
    const { runServe } = await import('./serve.ts');
    context.exitCode = await runServe(config);
  });
}
