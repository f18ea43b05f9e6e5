import type { Command } from 'commander';
import { addCommand, type CommandContext, type CommandShape, handle } from '../command-shape.ts';
import { EXIT } from '../failure.ts';
import { recordTable } from '../output/table.ts';
import { listAnswer, parseAnswer } from './answers.ts';
import { addSiteFlags, connectAdmin } from './client.ts';

/** An `ls`: GET a list, print it as a table; --json prints the bare array. */
export function addListCommand(
  group: Command,
  context: CommandContext,
  shape: CommandShape & {
    readonly path: string;
    /** What to say when there are none. */
    readonly none: string;
  },
): void {
  const command = addCommand(group, shape);
  addSiteFlags(command);
  handle(command, context, async (options) => {
    const ask = await connectAdmin(command, context);
    const items = parseAnswer(listAnswer, await ask({ method: 'GET', path: shape.path }));
    if (options['json'] === true) context.output.json(items);
    else if (items.length === 0) context.output.warn(shape.none);
    else for (const line of recordTable(items)) context.output.line(line);
    return EXIT.ok;
  });
}
