/**
 * Both sites run as processes of their own and are killed with SIGKILL at random moments, while
 * applications write at both: afterwards the trees are equal, and everything written is somewhere.
 * TWINSITE_SEED repeats a run, TWINSITE_KILLS sets how many.
 */
import { afterEach, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { until } from '../support/file-site.ts';
import { treeDifferences } from '../support/tree-walker.ts';

const seed = Number(process.env['TWINSITE_SEED'] ?? Date.now() % 1_000_000);
const kills = Number(process.env['TWINSITE_KILLS'] ?? 12);
const SCRIPT = path.join(import.meta.dir, '../support/file-site-process.ts');

let state = seed;
function random(): number {
  // mulberry32: small, seeded, good enough to pick moments.
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
}

class Killable {
  readonly name: string;
  readonly directory: string;
  readonly port: number;
  readonly peerPort: number;
  #child: Bun.Subprocess<'pipe', 'pipe', 'inherit'> | null = null;
  #lines: string[] = [];

  constructor(name: string, directory: string, port: number, peerPort: number) {
    this.name = name;
    this.directory = directory;
    this.port = port;
    this.peerPort = peerPort;
  }

  async start(): Promise<void> {
    const child = Bun.spawn(
      [process.execPath, SCRIPT, this.name, this.directory, `${this.port}`, `${this.peerPort}`],
      { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' },
    );
    this.#child = child;
    this.#lines = [];
    void (async () => {
      let rest = '';
      for await (const chunk of child.stdout) {
        const parts = (rest + new TextDecoder().decode(chunk)).split('\n');
        rest = parts.pop() ?? '';
        if (this.#child === child) this.#lines.push(...parts);
      }
    })().catch(() => undefined);
    await until(() => this.#lines.length > 0, `${this.name} starts`);
    this.#lines = [];
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#child?.exited;
    this.#child = null;
  }

  async ask(what: string): Promise<Record<string, unknown>> {
    this.#lines = [];
    await this.#child?.stdin.write(`${what}\n`);
    await until(() => this.#lines.length > 0, `${this.name} answers`, 40_000);
    return JSON.parse(this.#lines[0] ?? '{}') as Record<string, unknown>;
  }
}

let directory = '';
const running: Killable[] = [];

afterEach(async () => {
  for (const site of running) await site.kill();
  if (process.env['TWINSITE_KEEP'] === undefined) {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});

/** Every content below a directory, private parts too, as hashes. */
function contents(root: string): Set<string> {
  const hashes = new Set<string>();
  for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    try {
      const bytes = fs.readFileSync(path.join(entry.parentPath, entry.name));
      hashes.add(createHash('sha256').update(bytes).digest('hex'));
    } catch (error) {
      // A temp that was just put in its place.
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
    }
  }
  return hashes;
}

async function freePort(): Promise<number> {
  const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}

test(`${kills} kills at random moments (TWINSITE_SEED=${seed})`, async () => {
  process.stderr.write(`seed ${seed}, ${kills} kills\n`);
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'twinsite-kills-'));
  const [portA, portB] = [await freePort(), await freePort()];
  const sites = [
    new Killable('a', directory, portA, portB),
    new Killable('b', directory, portB, portA),
  ] as const;
  running.push(...sites);
  const roots = ['a', 'b'].map((name) => path.join(directory, `store-${name}`));
  for (const root of roots) fs.mkdirSync(root);
  /** Each content is unique. */
  const written = new Set<string>();
  /** What an application wrote last at each path of each site. */
  const last = new Map<string, string>();
  let count = 0;
  const write = (root: string) => {
    count += 1;
    const name = `d${Math.floor(random() * 6)}/f${Math.floor(random() * 150)}`;
    const file = path.join(root, name);
    const size = random() < 0.05 ? 300_000 : Math.floor(random() * 8_000);
    const content = `${count} `.repeat(Math.ceil(size / (`${count}`.length + 1)) + 1);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    // Renamed into place, so that what counts as written was whole.
    const temp = path.join(root, `.tmp-${count}`);
    fs.writeFileSync(temp, content);
    fs.renameSync(temp, file);
    const hash = createHash('sha256').update(content).digest('hex');
    written.add(hash);
    last.set(file, hash);
  };
  const remove = (root: string) => {
    const file = path.join(root, `d${Math.floor(random() * 6)}/f${Math.floor(random() * 150)}`);
    fs.rmSync(file, { force: true });
    last.delete(file);
  };
  await Promise.all(sites.map((site) => site.start()));
  for (let kill = 0; kill < kills; kill += 1) {
    for (let i = 0; i < 60; i += 1) write(roots[random() < 0.5 ? 0 : 1] ?? '');
    for (let i = 0; i < 8; i += 1) remove(roots[random() < 0.5 ? 0 : 1] ?? '');
    const victims = random() < 0.3 ? sites : [sites[random() < 0.5 ? 0 : 1]];
    await Bun.sleep(random() * 700);
    for (const victim of victims) await victim?.kill();
    for (let i = 0; i < 10; i += 1) write(roots[random() < 0.5 ? 0 : 1] ?? '');
    for (const victim of victims) await victim?.start();
  }
  for (let round = 0; round < 2; round += 1) {
    for (const site of sites) {
      const result = await site.ask('sync');
      expect(result).toMatchObject({ ok: true });
    }
  }
  const [a = '', b = ''] = roots;
  await until(
    () => treeDifferences(a, b, { times: true }).length === 0,
    () => treeDifferences(a, b, { times: true }).join('\n'),
  );
  const facts = await Promise.all(sites.map((site) => site.ask('sync')));
  expect(facts[0]?.['root']).toBe(facts[1]?.['root'] as string);
  // What the other process's kill interrupted is in no tree, and nothing half is visible.
  const temps = () =>
    roots
      .flatMap((root) => fs.readdirSync(path.join(root, '.twinsite/tmp')))
      .filter((name) => name.startsWith('files-'));
  await until(
    () => temps().length === 0,
    () => `left in tmp: ${temps().join(' ')}`,
  );
  // The live content of each path is one that was written whole.
  for (const root of roots) {
    for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.parentPath.includes('.twinsite')) continue;
      const bytes = fs.readFileSync(path.join(entry.parentPath, entry.name));
      expect(written.has(createHash('sha256').update(bytes).digest('hex'))).toBe(true);
    }
  }
  // Nobody's last word is lost: it is live, a conflict copy, or in the trash as an old version.
  const kept = new Set(roots.flatMap((root) => [...contents(root)]));
  const lost = [...last].filter(([, hash]) => !kept.has(hash)).map(([file]) => file);
  expect(lost).toEqual([]);
  process.stderr.write(`${count} writes, ${contents(a).size} contents kept at a\n`);
}, 180_000);
