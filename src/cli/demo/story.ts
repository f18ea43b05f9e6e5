/** `twinsite demo --story`: plays the steps, tells what was checked, and cleans up. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { describeError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import { systemClock } from '../../platform/clock.ts';
import type { CommandContext } from '../command-shape.ts';
import { EXIT } from '../failure.ts';
import {
  kernelPorts,
  prepareDirectory,
  readMarker,
  serveArguments,
  siteLayout,
  type Topology,
} from './layout.ts';
import { Client } from './service.ts';
import { DemoSite } from './site-process.ts';
import { STORY } from './story-steps.ts';
import type { Story } from './story-world.ts';

export interface StoryOptions {
  readonly directory: string;
  readonly topology: Topology;
  readonly json: boolean;
}

interface ToldStep {
  readonly title: string;
  readonly ok: boolean;
  readonly text: string;
  readonly tookMs: number;
}

/** Returns 0 when every step held, else 1. What an earlier story left in the directory is removed. */
export async function runStory(options: StoryOptions, context: CommandContext): Promise<number> {
  const { directory, topology } = options;
  const before = await readMarker(directory);
  if (before) await fs.rm(directory, { recursive: true });
  const stop = new AbortController();
  const story = await prepare(directory, topology, stop.signal);
  const interrupted = new Promise<never>((_, reject) => {
    stop.signal.addEventListener('abort', () => reject(new Error('interrupted')), { once: true });
  });
  interrupted.catch(() => undefined);
  const onSignal = () => stop.abort();
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const told: ToldStep[] = [];
  try {
    if (!options.json) context.output.line(`The story in ${directory} (${topology}):`);
    await play(story, interrupted, (step) => {
      told.push(step);
      if (!options.json) tell(context, step);
    });
    if (told.some((step) => !step.ok)) await tellLogs(story, context);
  } finally {
    await story.application?.stop();
    await Promise.all([story.a.stop(), story.b.stop()]);
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
  const ok = told.length === STORY.length && told.every((step) => step.ok);
  if (options.json) context.output.json({ ok, topology, directory, steps: told });
  else if (ok) {
    const tookMs = told.reduce((sum, step) => sum + step.tookMs, 0);
    context.output.line(`All ${told.length} steps held, in ${formatDuration(tookMs)}.`);
  }
  return ok ? EXIT.ok : EXIT.failed;
}

async function prepare(directory: string, topology: Topology, signal: AbortSignal): Promise<Story> {
  const ports = await kernelPorts();
  await prepareDirectory(directory, { topology, ports });
  const site = (name: 'a' | 'b') =>
    new DemoSite({
      layout: siteLayout(directory, name),
      args: serveArguments(directory, name, ports, topology),
      port: ports[name].http,
    });
  const [a, b] = [site('a'), site('b')];
  const [clientA, clientB] = [new Client(a, ''), new Client(b, '')];
  const none = { deposits: [], application: null, killedAtMs: 0 };
  return { topology, a, b, clientA, clientB, signal, ...none };
}

async function play(
  story: Story,
  interrupted: Promise<never>,
  tellStep: (step: ToldStep) => void,
): Promise<void> {
  for (const { title, run } of STORY) {
    const begun = systemClock.monotonicMs();
    const step = (ok: boolean, text: string) =>
      tellStep({ title, ok, text, tookMs: Math.round(systemClock.monotonicMs() - begun) });
    try {
      step(true, await Promise.race([run(story), interrupted]));
    } catch (error) {
      step(false, describeError(error));
      return;
    }
  }
}

function tell(context: CommandContext, step: ToldStep): void {
  const mark = step.ok ? context.output.paint('green', '✓') : context.output.paint('red', '✗');
  context.output.line(`${mark} ${step.title} (${formatDuration(step.tookMs)})`);
  context.output.line(`    ${step.text}`);
}

async function tellLogs(story: Story, context: CommandContext): Promise<void> {
  for (const site of [story.a, story.b]) context.output.warn(await site.tail(30));
  const { application, a } = story;
  if (application && application.errors.length > 0) {
    context.output.warn(`--- application\n${application.errors.slice(-5).join('\n')}`);
  }
  context.output.warn(`Everything is still in ${path.dirname(a.layout.root)}.`);
}
