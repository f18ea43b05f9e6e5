/** The command line: which command runs, with which exit code. */
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { VERSION } from '../core/version.ts';
import { DEFAULT_CONFIG_FILE } from '../platform/settings/config.ts';
import { environmentName } from '../platform/settings/table.ts';
import { registerAdmin } from './admin.ts';
import { registerCollection } from './collection.ts';
import type { CommandContext } from './command-shape.ts';
import { registerConfig } from './config-check.ts';
import { registerDemo } from './demo/command.ts';
import { registerDepositor } from './depositor.ts';
import { registerDrain } from './drain.ts';
import { EXIT, reportFailure } from './failure.ts';
import { createOutput } from './output/terminal.ts';
import { registerPair } from './pair-command.ts';
import { registerServe } from './serve-command.ts';
import { registerStatus } from './status.ts';
import { readStandardInput } from './stdin.ts';
import { registerStore } from './store-init.ts';
import { registerSwitchover } from './switchover.ts';
import { registerSync } from './sync.ts';
import { registerSystemd } from './systemd.ts';
import { registerVersion } from './version.ts';

const INTRODUCTION = `Keeps two sites of a deposit service identical and survives the loss of either one.

First steps: twinsite demo, or for two real hosts: twinsite pair, then twinsite serve on each.`;

/** Parses `args` (without the program's name), runs the command and returns the exit code. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  const output = createOutput(process, process.env);
  const context: CommandContext = {
    output,
    env: process.env,
    cwd: process.cwd(),
    readStdin: readStandardInput,
    exitCode: EXIT.ok,
  };
  const program = buildProgram(context);
  const effective = effectiveArguments(args, context);
  if (effective.length === 0) {
    output.warn(program.helpInformation().trimEnd());
    return EXIT.usage;
  }
  try {
    await program.parseAsync([...effective], { from: 'user' });
    return context.exitCode;
  } catch (error) {
    return reportFailure(error, output, args.includes('--json'));
  }
}

/** Flags without a command, or a configuration without anything, mean `serve`. */
function effectiveArguments(args: readonly string[], context: CommandContext): readonly string[] {
  const [first] = args;
  if (first === undefined) {
    const configured =
      Boolean(context.env[environmentName('config')]) ||
      Boolean(context.env[environmentName('store')]) ||
      existsSync(DEFAULT_CONFIG_FILE);
    return configured ? ['serve'] : [];
  }
  const isOwnFlag = ['-h', '--help', '-V', '--version'].includes(first);
  return first.startsWith('-') && !isOwnFlag ? ['serve', ...args] : args;
}

/** The whole tree of commands; nothing heavy is loaded until one runs. */
export function buildProgram(context: CommandContext): Command {
  const program = new Command('twinsite');
  program
    .description(INTRODUCTION)
    .version(VERSION, '-V, --version', 'print the version')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.output.raw(text),
      writeErr: (text) => context.output.warn(text.trimEnd()),
      outputError: (text, write) => write(usageLine(text)),
    })
    .helpCommand('help [command]', 'show help for a command');
  program.commandsGroup('Run a site:');
  registerServe(program, context);
  registerPair(program, context);
  registerStore(program, context);
  registerSystemd(program, context);
  registerConfig(program, context);
  program.commandsGroup('Look at and steer a running site:');
  registerStatus(program, context);
  registerSwitchover(program, context);
  registerDrain(program, context);
  registerSync(program, context);
  program.commandsGroup('Who may deposit:');
  registerCollection(program, context);
  registerDepositor(program, context);
  registerAdmin(program, context);
  program.commandsGroup('Others:');
  registerDemo(program, context);
  registerVersion(program, context);
  return program;
}

/** commander's message as one line of ours: what is wrong, what was meant, where the help is. */
function usageLine(text: string): string {
  const sentence = text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*\(Did you mean (.*)\?\)$/, ' (did you mean $1?)')
    .replaceAll('\n', ' ')
    .replace(/\.$/, '');
  return `twinsite: ${sentence}. See twinsite --help, or --help after a command`;
}
