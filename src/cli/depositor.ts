import type { Command } from 'commander';
import { AppError } from '../core/errors.ts';
import {
  type AccountKind,
  addSwitchCommand,
  addTokenCommand,
  printToken,
} from './admin/account-commands.ts';
import { addSiteFlags, connectAdmin } from './admin/client.ts';
import { addListCommand } from './admin/list-command.ts';
import {
  accountArgument,
  addCommand,
  addGroup,
  type CommandContext,
  handle,
  textOption,
} from './command-shape.ts';
import { EXIT } from './failure.ts';
import { readPassword } from './stdin.ts';

const KIND: AccountKind = { word: 'depositor', path: '/depositors' };
const RIGHTS = ['deposit', 'read'] as const;

/** `twinsite depositor add|set|grant|revoke|ls|disable|enable|token`. */
export function registerDepositor(program: Command, context: CommandContext): void {
  const group = addGroup(program, 'depositor', 'depositors: who may deposit where');
  addAdd(group, context);
  addSet(group, context);
  addGrant(group, context, 'grant');
  addGrant(group, context, 'revoke');
  addListCommand(group, context, {
    usage: 'ls',
    summary: 'list depositors and what they were granted',
    examples: ['depositor ls', 'depositor ls --json'],
    path: '/depositors',
    none: 'no depositors yet: twinsite depositor add NAME --collection C',
  });
  addSwitchCommand(group, context, KIND, 'disable');
  addSwitchCommand(group, context, KIND, 'enable');
  addTokenCommand(group, context, KIND);
}

function addAdd(group: Command, context: CommandContext): void {
  const command = addCommand(group, {
    usage: 'add <name>',
    summary: 'make a depositor with a grant for one collection; prints a token once',
    examples: [
      'depositor add alice --collection papers',
      'depositor add alice --collection papers --password-stdin < password.txt',
    ],
  })
    .requiredOption('--collection <C>', 'the collection that deposits may go into')
    .option('--password-stdin', 'also set a password, read from standard input');
  addSiteFlags(command);
  handle(command, context, async (options, name = '') => {
    const depositor = accountArgument(name, 'depositor');
    const collection = accountArgument(textOption(options, 'collection') ?? '', 'collection');
    const password =
      options['passwordStdin'] === true ? await readPassword(context.readStdin) : undefined;
    const ask = await connectAdmin(command, context);
    const body = { name: depositor, collection, ...(password === undefined ? {} : { password }) };
    return printToken(context, options, await ask({ method: 'POST', path: '/depositors', body }));
  });
}

function addSet(group: Command, context: CommandContext): void {
  const command = addCommand(group, {
    usage: 'set <name>',
    summary: "set a depositor's password, read from standard input",
    examples: ['depositor set alice --password-stdin < password.txt'],
  }).requiredOption('--password-stdin', 'read the password from standard input');
  addSiteFlags(command);
  handle(command, context, async (options, name = '') => {
    const depositor = accountArgument(name, 'depositor');
    const password = await readPassword(context.readStdin);
    const ask = await connectAdmin(command, context);
    const path = `/depositors/${depositor}/password`;
    await ask({ method: 'POST', path, body: { password } });
    if (options['json'] === true) context.output.json({ name: depositor });
    else context.output.line(`the password of ${depositor} is set`);
    return EXIT.ok;
  });
}

function addGrant(group: Command, context: CommandContext, verb: 'grant' | 'revoke'): void {
  const command = addCommand(group, {
    usage: `${verb} <name>`,
    summary: verb === 'grant' ? 'grant rights in a collection' : 'take rights in a collection back',
    examples: [
      `depositor ${verb} alice --collection papers`,
      `depositor ${verb} alice --collection papers --rights read`,
    ],
  })
    .requiredOption('--collection <C>', 'the collection')
    .option('--rights <RIGHTS>', 'deposit, read or both: deposit,read', 'deposit,read');
  addSiteFlags(command);
  handle(command, context, async (options, name = '') => {
    const depositor = accountArgument(name, 'depositor');
    const collection = accountArgument(textOption(options, 'collection') ?? '', 'collection');
    const rights = parseRights(textOption(options, 'rights') ?? '');
    const ask = await connectAdmin(command, context);
    const path = `/depositors/${depositor}/${verb}`;
    const answer = await ask({ method: 'POST', path, body: { collection, rights } });
    if (options['json'] === true) context.output.json(answer ?? { name: depositor });
    else {
      const did = verb === 'grant' ? 'may now' : 'may no longer';
      context.output.line(`${depositor} ${did} ${rights.join(' and ')} in ${collection}`);
    }
    return EXIT.ok;
  });
}

function parseRights(text: string): readonly string[] {
  const given = text.split(',').map((right) => right.trim());
  const unknown = given.find((right) => !RIGHTS.some((known) => known === right));
  if (unknown === undefined) return RIGHTS.filter((right) => given.includes(right));
  throw new AppError('usage', `'${unknown}' is no right. Use deposit, read or deposit,read`);
}
