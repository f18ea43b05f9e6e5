/**
 * Makes dist/twinsite: one file with the program, Bun, PostgreSQL, an initialised cluster, migrations
 * and the watcher's binding. Needs no network. With --assets-only, just build/assets.
 */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { buildAssets } from './build-assets.ts';

const ROOT = path.resolve(import.meta.dir, '..');
const OUTFILE = path.join(ROOT, 'dist/twinsite');

async function git(...args: string[]): Promise<string | null> {
  try {
    const child = Bun.spawn(['git', '-C', ROOT, ...args], { stdout: 'pipe', stderr: 'ignore' });
    const text = (await new Response(child.stdout).text()).trim();
    return (await child.exited) === 0 && text !== '' ? text : null;
  } catch {
    return null;
  }
}

/** The package's version; between releases with the commit it was built from. */
async function buildVersion(): Promise<string> {
  const given = process.env['TWINSITE_BUILD_VERSION'];
  if (given !== undefined && given !== '') return given;
  const { version } = JSON.parse(await fs.readFile(path.join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
  };
  if ((await git('describe', '--exact-match', '--tags', 'HEAD')) === `v${version}`) return version;
  const commit = await git('rev-parse', '--short=10', 'HEAD');
  return commit === null ? version : `${version}+${commit}`;
}

async function compile(version: string): Promise<void> {
  // Beside the old one, then renamed: a running site keeps its file, and a broken build leaves none.
  const temp = `${OUTFILE}.${process.pid}.tmp`;
  await fs.mkdir(path.dirname(OUTFILE), { recursive: true });
  try {
    const result = await Bun.build({
      entrypoints: [path.join(ROOT, 'src/main.ts')],
      target: 'bun',
      format: 'esm',
      bytecode: true,
      define: { TWINSITE_VERSION: JSON.stringify(version) },
      minify: { whitespace: true, syntax: true, identifiers: false },
      sourcemap: 'inline',
      compile: {
        outfile: temp,
        autoloadDotenv: false,
        autoloadBunfig: false,
        autoloadTsconfig: false,
        autoloadPackageJson: false,
      },
    });
    for (const message of result.logs) process.stderr.write(`${String(message)}\n`);
    if (!result.success) throw new Error('the build failed');
    await fs.chmod(temp, 0o755);
    await fs.rename(temp, OUTFILE);
    await fs.rename(`${temp}.map`, `${OUTFILE}.map`);
  } finally {
    await fs.rm(temp, { force: true });
    await fs.rm(`${temp}.map`, { force: true });
  }
}

const started = performance.now();
const made = await buildAssets();
process.stdout.write(made ? 'build/assets: made\n' : 'build/assets: up to date\n');
if (!process.argv.includes('--assets-only')) {
  const version = await buildVersion();
  await compile(version);
  const { size } = await fs.stat(OUTFILE);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(
    `dist/twinsite ${version}: ${(size / 2 ** 20).toFixed(0)} MiB in ${seconds} s\n`,
  );
}
