import type { Command } from 'commander';
import { formatDuration } from '../core/units.ts';
import { parseAnswer, switchoverAnswer } from './admin/answers.ts';
import { addSiteFlags, connectAdmin } from './admin/client.ts';
import {
  addCommand,
  type CommandContext,
  handle,
  siteArgument,
  textOption,
} from './command-shape.ts';
import { EXIT } from './failure.ts';

const TIMEOUT_MS = 120_000;

/** `twinsite switchover [--to SITE]`: the planned change of holder. */
export function registerSwitchover(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'switchover',
    summary: 'move the holder to the other site, while no request fails',
    examples: ['switchover', 'switchover --to b'],
  }).option('--to <SITE>', 'the site that shall hold (default: the one that does not)');
  addSiteFlags(command);
  handle(command, context, async (options) => {
    const to = textOption(options, 'to');
    const ask = await connectAdmin(command, context);
    const body = to === undefined ? {} : { to: siteArgument(to) };
    const answer = parseAnswer(
      switchoverAnswer,
      await ask({ method: 'POST', path: '/switchover', body, timeoutMs: TIMEOUT_MS }),
    );
    const epoch = typeof answer.epoch === 'number' ? answer.epoch : answer.epoch.number;
    if (options['json'] === true) context.output.json(answer);
    else {
      const took = formatDuration(answer.tookMs);
      context.output.line(`site ${answer.holder} holds now (epoch ${epoch}), after ${took}`);
    }
    return EXIT.ok;
  });
}
