/** What all commands have in common: context, --json, examples in the help, an exit code. */
import type { Command } from 'commander';
import { AppError } from '../core/errors.ts';
import { parseAccountName, parseSiteName } from '../core/ids.ts';
import type { Environment } from '../platform/settings/resolve.ts';
import type { Output } from './output/terminal.ts';

export interface CommandContext {
  readonly output: Output;
  readonly env: Environment;
  readonly cwd: string;
  /** All of standard input as text; at most 64 KiB. */
  readStdin(): Promise<string>;
  /** Set by the command that ran. */
  exitCode: number;
}

export interface CommandShape {
  /** Name and arguments as commander writes them: `add <name>`. */
  readonly usage: string;
  readonly summary: string;
  /** Command lines without `twinsite`. */
  readonly examples: readonly string[];
}

/** Adds a command with --json and its examples below the help. */
export function addCommand(parent: Command, shape: CommandShape): Command {
  const examples = shape.examples.map((example) => `  twinsite ${example}`).join('\n');
  return parent
    .command(shape.usage)
    .description(shape.summary)
    .option('--json', 'print one JSON document')
    .addHelpText('after', `\nExamples:\n${examples}`);
}

/** A command that only groups others: without one of them it shows its help and exits 2. */
export function addGroup(parent: Command, name: string, summary: string): Command {
  return parent.command(name).description(summary);
}

export type Options = Readonly<Record<string, unknown>>;

/** Runs `handler` with the arguments and options given; its number becomes the exit code. */
export function handle(
  command: Command,
  context: CommandContext,
  handler: (options: Options, ...args: readonly string[]) => Promise<number>,
): void {
  command.action(async () => {
    const args = command.processedArgs.map((arg: unknown) => (typeof arg === 'string' ? arg : ''));
    context.exitCode = await handler(command.opts(), ...args);
  });
}

/** A text option, or undefined. */
export function textOption(options: Options, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** A name from the command line, checked. Throws AppError `usage`. */
export function accountArgument(text: string, what: string): string {
  const name = parseAccountName(text);
  if (name) return name;
  throw new AppError(
    'usage',
    `'${text}' is no name for a ${what}. Use 1 to 64 letters, digits or . _ @ -, beginning and ending with a letter or digit`,
  );
}

/** A site's name from the command line, checked. Throws AppError `usage`. */
export function siteArgument(text: string): string {
  const name = parseSiteName(text);
  if (name) return name;
  throw new AppError('usage', `'${text}' is no site name. Use 1 to 32 of a-z, 0-9 and -`);
}
