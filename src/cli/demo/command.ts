import path from 'node:path';
import { type Command, Option } from 'commander';
import { AppError } from '../../core/errors.ts';
import { addCommand, type CommandContext, handle, textOption } from '../command-shape.ts';
import { STORY_DIRECTORY } from './layout.ts';

/** `twinsite demo [--story]`. */
export function registerDemo(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'demo',
    summary: 'run both sites on this machine; with --story play an outage and check everything',
    examples: ['demo', 'demo --port 9000', 'demo --story', 'demo --story --topology t2'],
  })
    .option('--story', 'deposit, kill a site, see the link flip, bring it back; exits 0 or 1')
    .option('--dir <DIR>', 'where everything is put (default: demo, or demo/story)')
    .option('--port <N>', 'the first of four free ports (default: from 8080 on)')
    .addOption(
      new Option(
        '--topology <T>',
        't1: both stores at both hosts, the link flips; t2: each host its own store (default: t1)',
      ).choices(['t1', 't2']),
    );
  handle(command, context, async (options) => {
    const story = options['story'] === true;
    const directory = path.resolve(
      context.cwd,
      textOption(options, 'dir') ?? (story ? path.join('demo', STORY_DIRECTORY) : 'demo'),
    );
    const topology = topologyOption(textOption(options, 'topology'));
    const json = options['json'] === true;
    if (story) {
      const { runStory } = await import('./story.ts');
      return runStory({ directory, topology: topology ?? 't1', json }, context);
    }
    const { runDemo } = await import('./run-demo.ts');
    return runDemo({ directory, topology, port: portOption(options), json }, context);
  });
}

function topologyOption(text: string | undefined): 't1' | 't2' | null {
  return text === 't1' || text === 't2' ? text : null;
}

function portOption(options: Readonly<Record<string, unknown>>): number | null {
  const text = textOption(options, 'port');
  if (text === undefined) return null;
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_532) return port;
  throw new AppError('usage', `'${text}' is no port. Give a number from 1 to 65532`);
}
