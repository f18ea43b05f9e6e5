import path from 'node:path';
import type { Command } from 'commander';
import { addCommand, type CommandContext, handle, textOption } from './command-shape.ts';

/** `twinsite pair`: its flags; the work is in pair.ts, loaded when needed. */
export function registerPair(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'pair <sites...>',
    summary: 'make the identities of two sites, one file for each',
    examples: [
      'pair a=host-a.example.org b=host-b.example.org --out identities',
      'pair host-a.example.org host-b.example.org:7444',
      'pair --renew a.pem b.pem --out renewed',
    ],
  })
    .option('--out <DIR>', 'where the files are written (default: this directory)')
    .option('--renew', 'new certificates for the pair of two identity files');
  handle(command, context, async (options) => {
    const { runPair } = await import('./pair.ts');
    const resolve = (text: string) => path.resolve(context.cwd, text);
    return runPair({
      specs: command.args.map((each) => (options['renew'] === true ? resolve(each) : each)),
      out: resolve(textOption(options, 'out') ?? '.'),
      renew: options['renew'] === true,
      json: options['json'] === true,
      print: context.output.line,
    });
  });
}
