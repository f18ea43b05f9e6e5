/** What the steps of the story share: the world they act in, and what they check in it. */
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import type { Application } from './application.ts';
import type { Topology } from './layout.ts';
import { type Client, type Receipt, sha256 } from './service.ts';
import type { DemoSite } from './site-process.ts';
import { waitFor } from './wait.ts';

export interface Story {
  readonly topology: Topology;
  readonly a: DemoSite;
  readonly b: DemoSite;
  readonly deposits: { receipt: Receipt; name: string; digest: string }[];
  clientA: Client;
  clientB: Client;
  application: Application | null;
  /** Aborts when a person interrupts the story. */
  readonly signal: AbortSignal;
  /** Monotonic time of the kill. */
  killedAtMs: number;
}

export interface StoryStep {
  readonly title: string;
  run(story: Story): Promise<string>;
}

/** Throws what was expected and what was seen, unless `condition` holds. */
export function expectTrue(condition: boolean, expected: string, seen: string): void {
  if (!condition) throw new Error(`expected ${expected}; seen: ${seen}`);
}

/** Deposits with a key of its own, checks the digest in the receipt, and remembers it. */
export async function depositAndNote(story: Story, client: Client, name: string, body: Uint8Array) {
  const receipt = await client.deposit(name, new Uint8Array(body), randomUUID());
  const digest = sha256(body);
  const file = receipt.files[0];
  expectTrue(file?.sha256 === digest, `SHA-256 ${digest} in the receipt`, String(file?.sha256));
  story.deposits.push({ receipt, name: file?.name ?? name, digest });
  return receipt;
}

/** Where a site's filestore points, absolute. */
export const linkTarget = async (site: DemoSite): Promise<string> => {
  const { filestore, root } = site.layout;
  return path.resolve(root, await fs.readlink(filestore));
};

/** Waits until the site is ready, paired, and says that deposits are durable at both. */
export async function whenPaired(story: Story, site: DemoSite, timeoutMs: number): Promise<void> {
  let seen = 'no answer';
  await waitFor(
    `site ${site.name} paired and durable at both`,
    async () => {
      if (!site.running) throw new Error(`site ${site.name} ended`);
      const status = await site.status();
      if (status) seen = `${status.state}, durability ${status.durability}`;
      return status?.state === 'paired' && status.durability === 'both' && (await site.isReady());
    },
    { signal: story.signal, timeoutMs, seen: () => seen },
  );
}

/** Reads everything deposited so far at one site and compares the digests. */
export async function readAll(story: Story, client: Client): Promise<string> {
  for (const { receipt, name, digest } of story.deposits) {
    const seen = await client.downloadDigest(receipt, name);
    expectTrue(seen === digest, `${name} with SHA-256 ${digest}`, seen);
  }
  return `${story.deposits.length} files read, every SHA-256 equal`;
}

/** Every line that was written is in the file or in a version that was kept beside it. */
export async function linesKept(story: Story, application: Application): Promise<void> {
  const store = story.b.layout.store;
  const texts = [await fs.readFile(path.join(store, 'app', 'log.txt'), 'utf8')];
  const kept = path.join(store, '.twinsite');
  const names = await fs.readdir(kept, { recursive: true }).catch(() => []);
  for (const name of names.filter((each) => each.includes('log.txt'))) {
    texts.push(await fs.readFile(path.join(kept, name), 'utf8').catch(() => ''));
  }
  const lines = new Set(texts.flatMap((text) => text.split('\n')));
  const lost = application.written.filter(({ number }) => !lines.has(`line ${number}`));
  const which = lost.map(({ number }) => number).join(', ');
  expectTrue(lost.length === 0, 'every line of the application kept', `without lines ${which}`);
}

/** A deposit as one line, for comparing two lists. */
export function rowText(receipt: Receipt): string {
  const files = receipt.files.map((file) => `${file.name} ${file.sizeBytes} ${file.sha256}`);
  return `${receipt.id} ${receipt.durability} ${files.join(' ')}`;
}

/** Both sites name b as holder, and both links are as that demands. */
export async function links(story: Story): Promise<string> {
  const [atA, atB] = await Promise.all([story.a.status(), story.b.status()]);
  const holders = `${atA?.holder} at A, ${atB?.holder} at B`;
  expectTrue(atA?.holder === 'b' && atB?.holder === 'b', 'holder b at both', holders);
  const held = story.b.layout.store;
  for (const site of [story.a, story.b]) {
    const expected = story.topology === 't1' ? held : site.layout.store;
    const seen = await linkTarget(site);
    expectTrue(seen === expected, `the link at ${site.name} -> ${expected}`, seen);
  }
  return `holder b (epoch ${atB?.epoch}), links as it says`;
}
