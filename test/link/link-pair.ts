/** Two real links on loopback in one process, with everything they told. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { PairIdentity } from '../../src/core/identity.ts';
import type { SiteName } from '../../src/core/ids.ts';
import type { Alarms, Log, LogFields, LogLevel, Metrics } from '../../src/core/ports.ts';
import { parseIdentity } from '../../src/link/identity-file.ts';
import { createPair, type PairFiles } from '../../src/link/pair-maker.ts';
import {
  createPeerLink,
  type PeerLinkOptions,
  type PeerLinkParts,
} from '../../src/link/peer-link.ts';
import { systemClock } from '../../src/platform/clock.ts';

export interface ToldLine {
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: LogFields;
}

export interface RunningLink extends PeerLinkParts {
  readonly told: readonly ToldLine[];
  readonly dataDir: string;
  /** The link's counters, `name{labels}` → value. */
  readonly counts: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

export interface TwoIdentities {
  readonly a: PairIdentity;
  readonly b: PairIdentity;
}

export const siteName = (name: string) => name as SiteName;

export function parsePair(files: PairFiles): TwoIdentities {
  return { a: parseIdentity(files.a, 'a.pem'), b: parseIdentity(files.b, 'b.pem') };
}

export async function newPair(nowWallMs?: number): Promise<TwoIdentities> {
  const sites = {
    a: { site: siteName('a'), url: 'https://127.0.0.1:7443' },
    b: { site: siteName('b'), url: 'https://127.0.0.1:7443' },
  };
  return parsePair(await createPair(sites, nowWallMs));
}

function recorder(lines: ToldLine[], base: LogFields = {}): Log {
  const at = (level: LogLevel) => (event: string, fields?: LogFields) => {
    lines.push({ level, event, fields: { ...base, ...fields } });
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => recorder(lines, { ...base, ...fields }),
  };
}

export const noAlarms: Alarms = { raise: () => undefined, clear: () => undefined, list: () => [] };

function counting(counts: Map<string, number>): Metrics {
  const key = (name: string, labels: object = {}) =>
    `${name}{${Object.values(labels).map(String).join(',')}}`;
  return {
    count: (name, _help, labels, by = 1) => {
      counts.set(key(name, labels), (counts.get(key(name, labels)) ?? 0) + by);
    },
    gauge: (name, _help, value, labels) => {
      counts.set(key(name, labels), value);
    },
    observe: () => undefined,
  };
}

/** A port on loopback that is free now; its number goes into the other site's peer address. */
export async function freePort(): Promise<number> {
  const listener = Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: { data: () => undefined },
  });
  const { port } = listener;
  listener.stop(true);
  return port;
}

let instances = 0;

/** Starts one link and waits until it listens. */
export async function startLink(
  options: Pick<PeerLinkOptions, 'identity' | 'peerUrl'> & Partial<PeerLinkOptions>,
): Promise<RunningLink> {
  const told: ToldLine[] = [];
  const counts = new Map<string, number>();
  const dataDir = options.dataDir ?? (await mkdtemp(path.join(os.tmpdir(), 'twinsite-link-')));
  const log = recorder(told);
  instances += 1;
  const parts = createPeerLink({
    listen: { host: '127.0.0.1', port: 0 },
    startCounter: 1000,
    instanceId: `instance-${instances}`,
    clock: systemClock,
    log,
    metrics: counting(counts),
    alarms: noAlarms,
    ...options,
    dataDir,
  });
  const controller = new AbortController();
  const ready = Promise.withResolvers<void>();
  const run = parts.service.run({
    signal: controller.signal,
    clock: systemClock,
    log,
    ready: () => ready.resolve(),
  });
  await Promise.race([ready.promise, run]).catch(async (error: unknown) => {
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    throw error;
  });
  return {
    ...parts,
    told,
    counts,
    dataDir,
    async stop() {
      controller.abort();
      await run;
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Two links that dial each other. */
export async function startPair(
  identities?: TwoIdentities,
  options: Partial<PeerLinkOptions> = {},
): Promise<{ a: RunningLink; b: RunningLink; stop(): Promise<void> }> {
  const { a: idA, b: idB } = identities ?? (await newPair());
  const portA = await freePort();
  const b = await startLink({
    ...options,
    identity: idB,
    peerUrl: `https://127.0.0.1:${portA}`,
  });
  const a = await startLink({
    ...options,
    identity: idA,
    peerUrl: `https://127.0.0.1:${b.address()?.port}`,
    listen: { host: '127.0.0.1', port: portA },
  });
  return {
    a,
    b,
    stop: async () => {
      await Promise.all([a.stop(), b.stop()]);
    },
  };
}

/** Polls until `check` gives something true; the bound only ends a broken test. */
export async function until<T>(check: () => T | undefined | null | false, ms = 20_000): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    const found = check();
    if (found) return found;
    if (performance.now() > end) throw new Error('the condition never came true');
    await Bun.sleep(2);
  }
}

export async function readAll(incoming: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks);
}
