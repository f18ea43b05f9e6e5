import type { Command } from 'commander';
import { AppError } from '../core/errors.ts';
import { listAnswer, parseAnswer } from './admin/answers.ts';
import { type AdminClient, addSiteFlags, connectAdmin } from './admin/client.ts';
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

/** `twinsite collection add|set|ls`. */
export function registerCollection(program: Command, context: CommandContext): void {
  const group = addGroup(program, 'collection', 'collections: what deposits go into');

  const add = addCommand(group, {
    usage: 'add <name>',
    summary: 'make a collection',
    examples: ['collection add papers --title "Papers"'],
  }).option('--title <TEXT>', 'what people read');
  addSiteFlags(add);
  handle(add, context, (options, name = '') => store(add, options, name, 'added'));

  const set = addCommand(group, {
    usage: 'set <name>',
    summary: "change a collection's title",
    examples: ['collection set papers --title "Papers and preprints"'],
  }).requiredOption('--title <TEXT>', 'what people read');
  addSiteFlags(set);
  handle(set, context, (options, name = '') => store(set, options, name, 'set'));

  addListCommand(group, context, {
    usage: 'ls',
    summary: 'list collections',
    examples: ['collection ls', 'collection ls --json'],
    path: '/collections',
    none: 'no collections yet: twinsite collection add NAME',
  });

  async function store(
    command: Command,
    options: Readonly<Record<string, unknown>>,
    name: string,
    did: 'added' | 'set',
  ): Promise<number> {
    const checked = accountArgument(name, 'collection');
    const title = textOption(options, 'title');
    const ask = await connectAdmin(command, context);
    const fields = title === undefined ? {} : { title };
    const answer =
      did === 'added'
        ? await ask({ method: 'POST', path: '/collections', body: { name: checked, ...fields } })
        : await change(ask, checked, fields);
    if (options['json'] === true) context.output.json(answer ?? { name: checked, ...fields });
    else context.output.line(`collection ${checked} ${did}`);
    return EXIT.ok;
  }
}

/** PUT would make a collection that is not there; a mistyped name must not. */
async function change(ask: AdminClient, name: string, fields: object): Promise<unknown> {
  const known = parseAnswer(listAnswer, await ask({ method: 'GET', path: '/collections' }));
  if (!known.some((collection) => collection.name === name)) {
    throw new AppError('not-found', `there is no collection ${name}. See twinsite collection ls`);
  }
  return ask({ method: 'PUT', path: `/collections/${name}`, body: fields });
}
