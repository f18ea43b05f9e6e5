import type { Command } from 'commander';
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
} from './command-shape.ts';

const KIND: AccountKind = { word: 'admin', path: '/admins' };

/** `twinsite admin add|ls|disable|token`: who may administer over HTTP. */
export function registerAdmin(program: Command, context: CommandContext): void {
  const group = addGroup(program, 'admin', 'administrators: who may see status over HTTP');
  const add = addCommand(group, {
    usage: 'add <name>',
    summary: 'make an administrator and print a token once',
    examples: ['admin add ops', 'admin add ops --json'],
  });
  addSiteFlags(add);
  handle(add, context, async (options, name = '') => {
    const body = { name: accountArgument(name, 'admin') };
    const ask = await connectAdmin(add, context);
    return printToken(context, options, await ask({ method: 'POST', path: '/admins', body }));
  });
  addListCommand(group, context, {
    usage: 'ls',
    summary: 'list administrators',
    examples: ['admin ls'],
    path: '/admins',
    none: 'no administrators yet: twinsite admin add NAME',
  });
  addSwitchCommand(group, context, KIND, 'disable');
  addTokenCommand(group, context, KIND);
}
