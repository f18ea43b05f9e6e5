/** `twinsite demo`: both sites on this machine, until Ctrl-C. */
import path from 'node:path';
import { describeError } from '../../core/errors.ts';
import { systemClock } from '../../platform/clock.ts';
import type { CommandContext } from '../command-shape.ts';
import { EXIT } from '../failure.ts';
import {
  choosePorts,
  prepareDirectory,
  readMarker,
  serveArguments,
  siteLayout,
  type Topology,
} from './layout.ts';
import { Client, COLLECTION, makeAccounts } from './service.ts';
import { DemoSite, type SiteEnd } from './site-process.ts';
import { waitFor } from './wait.ts';

export interface DemoOptions {
  readonly directory: string;
  readonly topology: Topology | null;
  /** The first of four ports; null: any. */
  readonly port: number | null;
  readonly json: boolean;
}

const START_DEADLINE_MS = 90_000;

/** Runs until SIGINT or SIGTERM and returns 0; 1 when a site could not start or both ended. */
export async function runDemo(options: DemoOptions, context: CommandContext): Promise<number> {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const sites = await prepare(options);
  const say = options.json ? context.output.warn : context.output.line;
  try {
    await Promise.all(sites.map((site) => site.start()));
    const ready = Promise.all(sites.map((site) => untilPaired(site, say, stop.signal)));
    const token = await ready.then(() => makeToken(sites));
    present(options, context, sites, token);
    await untilStopped(sites, say, stop.signal);
    return stop.signal.aborted ? EXIT.ok : EXIT.failed;
  } catch (error) {
    if (stop.signal.aborted) return EXIT.ok;
    context.output.warn(`twinsite: ${describeError(error)}`);
    for (const site of sites) context.output.warn(await site.tail());
    return EXIT.failed;
  } finally {
    say('stopping both sites');
    await Promise.all(sites.map((site) => site.stop()));
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
  }
}

async function prepare(options: DemoOptions): Promise<readonly [DemoSite, DemoSite]> {
  const { directory } = options;
  const before = await readMarker(directory);
  const ports = await choosePorts(options.port ?? before?.ports.a.http ?? null).catch((error) => {
    if (options.port !== null) throw error;
    return choosePorts(null);
  });
  const topology = options.topology ?? before?.topology ?? 't1';
  await prepareDirectory(directory, { topology, ports });
  const site = (name: 'a' | 'b') =>
    new DemoSite({
      layout: siteLayout(directory, name),
      args: serveArguments(directory, name, ports, topology),
      port: ports[name].http,
    });
  return [site('a'), site('b')];
}

/** Tells each change of state, so that a person sees it move. */
async function untilPaired(
  site: DemoSite,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  let told = '';
  await waitFor(
    `site ${site.name} ready and paired`,
    async () => {
      if (!site.running) throw new Error(`site ${site.name} ended while it started`);
      const status = await site.status();
      const text = status
        ? `${status.state}, deposits durable at ${status.durability}`
        : 'starting';
      if (text !== told) say(`site ${site.name}: ${text}`);
      told = text;
      const paired = status?.state === 'paired' && status.durability === 'both';
      return paired && (await site.isReady());
    },
    { timeoutMs: START_DEADLINE_MS, everyMs: 200, signal, seen: () => told },
  );
}

async function makeToken(sites: readonly [DemoSite, DemoSite]): Promise<string> {
  const token = await makeAccounts(sites[0]);
  await Promise.all(sites.map((site) => new Client(site, token).known()));
  return token;
}

function present(
  options: DemoOptions,
  context: CommandContext,
  sites: readonly [DemoSite, DemoSite],
  token: string,
): void {
  const [a, b] = sites;
  if (options.json) {
    const describe = (site: DemoSite) => ({ url: site.url, pid: site.pid, ...site.layout });
    context.output.json({ token, collection: COLLECTION, a: describe(a), b: describe(b) });
    return;
  }
  const bold = (text: string) => context.output.paint('bold', text);
  const program = a.command.slice(0, a.command.indexOf('serve')).join(' ');
  const shown = (file: string) => path.relative(context.cwd, file) || '.';
  const lines = [
    '',
    bold('Two sites run.'),
    `  site a  ${a.url}   store ${shown(a.layout.store)}   filestore ${shown(a.layout.filestore)}   pid ${a.pid}`,
    `  site b  ${b.url}   store ${shown(b.layout.store)}   filestore ${shown(b.layout.filestore)}   pid ${b.pid}`,
    `  token   ${token}`,
    '',
    bold('Deposit a file at a; read it at b:'),
    `  curl -H 'Authorization: Bearer ${token}' -H 'Content-Disposition: attachment; filename="README.md"' --data-binary @README.md ${a.url}/collections/${COLLECTION}/deposits`,
    `  curl -H 'Authorization: Bearer ${token}' ${b.url}/deposits`,
    '',
    bold('Look at them:'),
    `  ${program} status --data ${shown(a.layout.data)}`,
    `  ${program} status --data ${shown(b.layout.data)} --watch`,
    '',
    bold('Lose site a, and see the link at b flip:'),
    `  kill -9 ${a.pid}; sleep 8; readlink ${shown(b.layout.filestore)}`,
    '',
    `Logs: ${shown(a.layout.log)}, ${shown(b.layout.log)}. Ctrl-C stops both.`,
  ];
  for (const line of lines) context.output.line(line);
}

/** A site that ends is told, with the way to start it again; the demo ends when none runs. */
async function untilStopped(
  sites: readonly DemoSite[],
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const ends = sites.map(async (site) => {
    const end = await site.end();
    if (signal.aborted) return;
    say(
      `\nsite ${site.name} ended (${endText(end)}). To start it again:\n  ${site.command.join(' ')}`,
    );
  });
  await Promise.race([aborted, Promise.all(ends)]);
  // Two sites killed in one instant and Ctrl-C look alike for a moment.
  await systemClock.sleep(10);
}

function endText(end: SiteEnd): string {
  return end.signal === null ? `exit ${end.code ?? '?'}` : end.signal;
}
