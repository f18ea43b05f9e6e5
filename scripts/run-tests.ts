/**
 * Runs kinds of tests one after the other and adds up what they report: `unit` (beside the source, the
 * house rules, the command line), `parts` (whole parts on real sockets, directories and processes), `pg`
 * (*.pg.test.ts, real PostgreSQL servers), `e2e` (the compiled binary).
 * Lines like `kills: 50 of site a` and `(seed 7)` in their output are counted and named at the end.
 */
import path from 'node:path';

const ROOT = path.resolve(import.meta.dir, '..');
const TIMEOUT_MS = { unit: 10_000, parts: 30_000, pg: 120_000, e2e: 300_000 } as const;

type Kind = keyof typeof TIMEOUT_MS;

interface Totals {
  pass: number;
  fail: number;
  skip: number;
  kills: number;
  seeds: string[];
}

function isKind(text: string): text is Kind {
  return text in TIMEOUT_MS;
}

function kindOf(file: string): Kind {
  if (file.startsWith('test/e2e/')) return 'e2e';
  if (file.endsWith('.pg.test.ts')) return 'pg';
  return /^test\/(?!cli\/)[^/]+\//.test(file) ? 'parts' : 'unit';
}

async function testFiles(): Promise<string[]> {
  const found: string[] = [];
  for (const root of ['src', 'test', 'scripts']) {
    const glob = new Bun.Glob('**/*.test.ts');
    for await (const file of glob.scan({ cwd: path.join(ROOT, root) })) {
      found.push(`${root}/${file}`);
    }
  }
  return found.sort();
}

function add(totals: Totals, output: string): void {
  const sum = (pattern: RegExp) =>
    [...output.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
  totals.pass += sum(/^\s*(\d+) pass$/gm);
  totals.fail += sum(/^\s*(\d+) fail$/gm);
  totals.skip += sum(/^\s*(\d+) skip$/gm);
  totals.kills += sum(/^kills: (\d+)/gm);
  for (const match of output.matchAll(/\bseed:? (\S+?)[),;]?(?=\s|$)/gm)) {
    if (match[1] !== undefined && !totals.seeds.includes(match[1])) totals.seeds.push(match[1]);
  }
}

/** Shows a stream as it comes and returns all of it, without colour codes. */
async function tee(stream: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of stream) {
    to.write(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return Bun.stripANSI(text);
}

async function run(kind: Kind, files: readonly string[], totals: Totals): Promise<boolean> {
  if (files.length === 0) {
    process.stdout.write(`${kind}: no tests\n`);
    return true;
  }
  const started = performance.now();
  const child = Bun.spawn(
    [
      process.execPath,
      'test',
      '--timeout',
      String(TIMEOUT_MS[kind]),
      ...files.map((f) => `./${f}`),
    ],
    { cwd: ROOT, stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' },
  );
  const [out, err, code] = await Promise.all([
    tee(child.stdout, process.stdout),
    tee(child.stderr, process.stderr),
    child.exited,
  ]);
  add(totals, `${out}\n${err}`);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`${kind}: ${code === 0 ? 'passed' : 'FAILED'} in ${seconds} s\n\n`);
  return code === 0;
}

const kinds = process.argv.slice(2).filter(isKind);
const files = await testFiles();
const totals: Totals = { pass: 0, fail: 0, skip: 0, kills: 0, seeds: [] };
const failed: Kind[] = [];
for (const kind of kinds) {
  const ok = await run(
    kind,
    files.filter((file) => kindOf(file) === kind),
    totals,
  );
  if (!ok) failed.push(kind);
}
const seeds = totals.seeds.length === 0 ? '' : `, seeds ${totals.seeds.join(' ')}`;
process.stdout.write(`kills: ${totals.kills}${seeds}\n`);
process.stdout.write(
  `total: ${totals.pass} passed, ${totals.fail} failed, ${totals.skip} skipped\n`,
);
if (failed.length > 0) {
  process.stdout.write(`FAILED: ${failed.join(', ')}\n`);
  process.exitCode = 1;
}
