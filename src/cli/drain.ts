import type { Command } from 'commander';
import { addSiteFlags, connectAdmin } from './admin/client.ts';
import { addCommand, type CommandContext, handle } from './command-shape.ts';
import { EXIT } from './failure.ts';

/** `twinsite drain [--wait]` and `twinsite resume`. */
export function registerDrain(program: Command, context: CommandContext): void {
  const drain = addCommand(program, {
    usage: 'drain',
    summary: 'take no new requests and finish those that run; the site stays up',
    examples: ['drain', 'drain --wait && systemctl stop twinsite'],
  }).option('--wait', 'return when no request runs any more');
  addSiteFlags(drain);
  handle(drain, context, async (options) => {
    const wait = options['wait'] === true;
    const ask = await connectAdmin(drain, context);
    const answer = await ask({
      method: 'POST',
      path: '/drain',
      body: { wait },
      ...(wait ? { timeoutMs: null } : {}),
    });
    const text = wait ? 'drained: no request runs' : 'draining; twinsite resume undoes it';
    if (options['json'] === true) context.output.json(answer ?? { draining: true });
    else context.output.line(text);
    return EXIT.ok;
  });

  const resume = addCommand(program, {
    usage: 'resume',
    summary: 'undo drain: take requests again',
    examples: ['resume'],
  });
  addSiteFlags(resume);
  handle(resume, context, async (options) => {
    const ask = await connectAdmin(resume, context);
    const answer = await ask({ method: 'POST', path: '/resume', body: {} });
    if (options['json'] === true) context.output.json(answer ?? { draining: false });
    else context.output.line('the site takes requests again');
    return EXIT.ok;
  });
}
