import type { Command } from 'commander';
import { describeError } from '../core/errors.ts';
import { systemClock } from '../platform/clock.ts';
import { parseAnswer, statusAnswer } from './admin/answers.ts';
import { type AdminClient, addSiteFlags, connectAdmin } from './admin/client.ts';
import { addCommand, type CommandContext, handle } from './command-shape.ts';
import { EXIT, exitCodeOf, failureText } from './failure.ts';
import { CHECK, checkLine, checkStatus } from './output/status-check.ts';
import { statusLines } from './output/status-view.ts';

const WATCH_EVERY_MS = 1000;
const CHECK_TIMEOUT_MS = 5000;

/** `twinsite status [--watch|--json|--check]`. */
export function registerStatus(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    usage: 'status',
    summary: 'how this site is, at a glance',
    examples: ['status', 'status --watch', 'status --json', 'status --check'],
  })
    .option('--watch', 'redraw every second until Ctrl-C')
    .option('--check', 'one line and exit code for a monitoring system (0, 1, 2 or 3)');
  addSiteFlags(command);
  handle(command, context, async (options) => {
    if (options['check'] === true) return check(command, context);
    const ask = await connectAdmin(command, context);
    if (options['watch'] === true) return watch(ask, context, options['json'] === true);
    const body = await ask({ method: 'GET', path: '/status' });
    if (options['json'] === true) context.output.json(body);
    else context.output.raw(render(body, context));
    return EXIT.ok;
  });
}

function render(body: unknown, context: CommandContext): string {
  const status = parseAnswer(statusAnswer, body);
  const lines = statusLines(status, context.output.paint, systemClock.wallMs());
  return `${lines.join('\n')}\n`;
}

/** Never throws: a monitoring system reads the line and the code, whatever happens. */
async function check(command: Command, context: CommandContext): Promise<number> {
  try {
    const ask = await connectAdmin(command, context);
    const body = await ask({ method: 'GET', path: '/status', timeoutMs: CHECK_TIMEOUT_MS });
    const result = checkStatus(parseAnswer(statusAnswer, body));
    context.output.line(result.line);
    return result.exitCode;
  } catch (error) {
    const exitCode = exitCodeOf(error) === EXIT.notRunning ? CHECK.critical : CHECK.unknown;
    context.output.line(checkLine(exitCode, failureText(error)));
    return exitCode;
  }
}

/** Until SIGINT or SIGTERM. A site that stops answering is shown as such, and looked for again. */
async function watch(ask: AdminClient, context: CommandContext, json: boolean): Promise<number> {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  const clear = context.output.isTerminal ? '\u001b[H\u001b[J' : '';
  try {
    while (!stop.signal.aborted) {
      try {
        const body = await ask({ method: 'GET', path: '/status', timeoutMs: CHECK_TIMEOUT_MS });
        if (json) context.output.raw(`${JSON.stringify(body)}\n`);
        else context.output.raw(`${clear}${render(body, context)}${clear === '' ? '\n' : ''}`);
      } catch (error) {
        if (json) context.output.warn(describeError(error));
        else context.output.raw(`${clear}${failureText(error)}\n`);
      }
      await systemClock.sleep(WATCH_EVERY_MS, stop.signal);
    }
  } finally {
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
  return EXIT.ok;
}
