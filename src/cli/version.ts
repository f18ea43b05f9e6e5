import type { Command } from 'commander';
import { PROTOCOL, VERSION } from '../core/version.ts';
import { addCommand, type CommandContext, handle } from './command-shape.ts';
import { EXIT } from './failure.ts';

/** `twinsite version`. */
export function registerVersion(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'version',
    summary: 'print the version, and with --json everything that two builds compare',
    examples: ['version', 'version --json'],
  });
  handle(command, context, (options) => {
    const facts = {
      version: VERSION,
      protocol: PROTOCOL,
      bun: Bun.version,
      platform: `${process.platform}-${process.arch}`,
    };
    if (options['json'] === true) context.output.json(facts);
    else context.output.line(`twinsite ${VERSION} (protocol ${PROTOCOL}, Bun ${Bun.version})`);
    return Promise.resolve(EXIT.ok);
  });
}
