/** Commands that depositors and administrators share. */
import type { Command } from 'commander';
import {
  accountArgument,
  addCommand,
  type CommandContext,
  handle,
  type Options,
} from '../command-shape.ts';
import { EXIT } from '../failure.ts';
import { parseAnswer, tokenAnswer } from './answers.ts';
import { addSiteFlags, connectAdmin } from './client.ts';

export interface AccountKind {
  /** As in the command line: `depositor`. */
  readonly word: 'depositor' | 'admin';
  /** As on the admin socket: `/depositors`. */
  readonly path: '/depositors' | '/admins';
}

/** `disable` or `enable`. */
export function addSwitchCommand(
  group: Command,
  context: CommandContext,
  kind: AccountKind,
  verb: 'disable' | 'enable',
): void {
  const summary =
    verb === 'disable'
      ? `refuse the ${kind.word}'s credentials, at both sites as soon as they meet`
      : `accept the ${kind.word}'s credentials again`;
  const command = addCommand(group, {
    usage: `${verb} <name>`,
    summary,
    examples: [`${kind.word} ${verb} alice`],
  });
  addSiteFlags(command);
  handle(command, context, async (options, name = '') => {
    const checked = accountArgument(name, kind.word);
    const ask = await connectAdmin(command, context);
    const path = `${kind.path}/${checked}/${verb}`;
    const answer = await ask({ method: 'POST', path, body: {} });
    const disabled = verb === 'disable';
    if (options['json'] === true) context.output.json(answer ?? { name: checked, disabled });
    else context.output.line(`${kind.word} ${checked} ${verb}d`);
    return EXIT.ok;
  });
}

/** `token`: one more token, shown once. */
export function addTokenCommand(group: Command, context: CommandContext, kind: AccountKind): void {
  const command = addCommand(group, {
    usage: 'token <name>',
    summary: 'make a new token and print it once; those made before stay valid',
    examples: [`${kind.word} token alice`, `${kind.word} token alice --json`],
  });
  addSiteFlags(command);
  handle(command, context, async (options, name = '') => {
    const checked = accountArgument(name, kind.word);
    const ask = await connectAdmin(command, context);
    const path = `${kind.path}/${checked}/token`;
    return printToken(context, options, await ask({ method: 'POST', path, body: {} }));
  });
}

/** Prints `{name, token}` with --json; else the token alone on stdout, and how to use it on stderr. */
export function printToken(context: CommandContext, options: Options, body: unknown): number {
  const answer = parseAnswer(tokenAnswer, body);
  if (options['json'] === true) {
    context.output.json({ name: answer.name, token: answer.token });
    return EXIT.ok;
  }
  context.output.warn(`The token of ${answer.name}, shown this once:`);
  context.output.line(answer.token);
  context.output.warn('Use it as "Authorization: Bearer TOKEN", or as the password of this name.');
  return EXIT.ok;
}
