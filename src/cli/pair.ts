/** `twinsite pair`: makes the identities of two sites, or renews their certificates. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import type { PairIdentity } from '../core/identity.ts';
import { parsePairSpec } from '../core/pair-spec.ts';
import { parseIdentity, readIdentityAnyAge } from '../link/identity-file.ts';
import { createPair, type PairFiles, renewPair } from '../link/pair-maker.ts';
import { fsyncDirectory } from '../platform/durable.ts';

export interface RunPairArgs {
  /** Two `a=HOST[:PORT]`, or with `renew` the paths of the two present files. */
  readonly specs: readonly string[];
  /** The directory that gets `<site>.pem`; made when missing. */
  readonly out: string;
  readonly renew: boolean;
  readonly json: boolean;
  readonly print: (line: string) => void;
}

interface NamedFile {
  readonly identity: PairIdentity;
  readonly file: string;
  readonly text: string;
}

async function makeFiles(args: RunPairArgs): Promise<PairFiles> {
  const [first, second, ...more] = args.specs;
  if (first === undefined || second === undefined || more.length > 0)
    throw new AppError(
      'usage',
      args.renew
        ? 'Give the two present files: twinsite pair --renew OLD_A OLD_B'
        : 'Give two sites: twinsite pair a=HOST_A[:PORT] b=HOST_B[:PORT]',
    );
  if (args.renew)
    return await renewPair(await readIdentityAnyAge(first), await readIdentityAnyAge(second));
  const a = parsePairSpec(first, 'a');
  const b = parsePairSpec(second, 'b');
  if (!a.ok) throw new AppError('usage', `${a.text}.`);
  if (!b.ok) throw new AppError('usage', `${b.text}.`);
  if (a.url === b.url)
    throw new AppError('usage', `Both sites have the address ${a.url}: each needs its own.`);
  return await createPair({ a, b });
}

async function writeOne({ file, text }: NamedFile): Promise<void> {
  const handle = await fs.open(file, 'wx', 0o600);
  try {
    // Whatever the umask was.
    await handle.chmod(0o600);
    await handle.writeFile(text);
    await handle.sync();
    await handle.close();
  } catch (error) {
    // Ours, and not whole.
    await handle.close().catch(() => undefined);
    await fs.rm(file, { force: true });
    throw error;
  }
}

/** Both files or none: half a pair would be of no use, and look like one. */
async function writeBoth(directory: string, files: readonly NamedFile[]): Promise<void> {
  const written: string[] = [];
  try {
    await fs.mkdir(directory, { recursive: true, mode: 0o700 });
    for (const file of files) {
      await writeOne(file);
      written.push(file.file);
    }
    await fsyncDirectory(directory);
  } catch (error) {
    for (const file of written) await fs.rm(file, { force: true });
    if (systemCode(error) === 'EEXIST')
      throw new AppError(
        'conflict',
        `${(error as { path?: string }).path ?? directory} exists already and is not replaced. Move it away, or give another directory with --out.`,
      );
    throw new AppError(
      'no-permission',
      `The identities cannot be written to ${directory}: ${describeError(error)}.`,
      { cause: error },
    );
  }
}

function nextSteps(files: readonly NamedFile[], renewed: boolean): string[] {
  const port = (url: string) => new URL(url).port || '443';
  const lines = files.map(
    ({ file, identity }) => `${file}  for site ${identity.site} at ${identity.siteUrl}`,
  );
  lines.push('', 'Both files are secret: whoever has one is that site. Now:');
  for (const { file, identity } of files) {
    const host = new URL(identity.siteUrl).hostname;
    lines.push(
      `  copy ${file} to ${host} only (mode 0600), then: twinsite serve --identity FILE …`,
    );
  }
  if (renewed) {
    lines.push(
      'Install and restart one site after the other; the old and the new files work together.',
    );
    return lines;
  }
  const ports = files.map(({ identity }) => port(identity.siteUrl));
  lines.push(
    `TCP ${[...new Set(ports)].join(' and ')} must be open between the sites in both directions; nothing else.`,
  );
  return lines;
}

/**
 * Writes `<site>.pem` for both sites, mode 0600, and prints what to do next; returns exit code 0.
 * Throws AppError `usage`, `conflict` (a file exists), `identity-invalid` or `no-permission`.
 */
export async function runPair(args: RunPairArgs): Promise<number> {
  const made = await makeFiles(args);
  const directory = path.resolve(args.out);
  const files = [made.a, made.b].map((text): NamedFile => {
    const identity = parseIdentity(text, 'The new identity');
    return { identity, file: path.join(directory, `${identity.site}.pem`), text };
  });
  await writeBoth(directory, files);
  if (args.json)
    args.print(
      JSON.stringify({
        pair: files[0]?.identity.pairId,
        expiresAt: files[0]?.identity.certificateExpiresAt,
        files: files.map(({ identity, file }) => ({
          site: identity.site,
          url: identity.siteUrl,
          file,
        })),
      }),
    );
  else for (const line of nextSteps(files, args.renew)) args.print(line);
  return 0;
}
