import type { Command } from 'commander';
import { formatDuration } from '../core/units.ts';
import { parseAnswer, syncAnswer } from './admin/answers.ts';
import { addSiteFlags, connectAdmin } from './admin/client.ts';
import { addCommand, type CommandContext, handle } from './command-shape.ts';
import { EXIT } from './failure.ts';

/** `twinsite sync [PATH]`: waits until what is in the store now is at the peer. */
export function registerSync(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'sync [path]',
    summary: 'wait until everything written so far (or below PATH) is durable at the peer',
    examples: ['sync', 'sync incoming/2026'],
  });
  addSiteFlags(command);
  handle(command, context, async (options, path = '') => {
    const ask = await connectAdmin(command, context);
    const body = path === '' ? {} : { path };
    const answer = parseAnswer(
      syncAnswer,
      await ask({ method: 'POST', path: '/sync', body, timeoutMs: null }),
    );
    const took = formatDuration(answer.tookMs);
    if (options['json'] === true) context.output.json(answer);
    else if (answer.ok) context.output.line(`both sites are equal, after ${took}`);
    else context.output.warn(`not everything is at the peer after ${took}; see twinsite status`);
    return answer.ok ? EXIT.ok : EXIT.partly;
  });
}
