/** An independent look at a tree: own walk, own hashing, nothing of the product. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface WalkOptions {
  /** Also modification times of files. */
  readonly times?: boolean;
}

function describe(path: Buffer, options: WalkOptions): string {
  const stat = lstatSync(path, { bigint: true });
  const mode = (Number(stat.mode) & 0o7777).toString(8);
  if (stat.isSymbolicLink()) return `link ${readlinkSync(path, { encoding: 'hex' })}`;
  if (stat.isDirectory()) return `dir ${mode}`;
  if (!stat.isFile()) return 'special';
  const hash = createHash('sha256').update(readFileSync(path)).digest('hex');
  const time = options.times ? ` ${stat.mtimeNs}` : '';
  return `file ${mode} ${stat.uid}:${stat.gid} ${stat.size} ${hash}${time}`;
}

/** Every name below `root` (bytes as hex where not plain) with what it is; private parts left out. */
export function walkTree(root: string, options: WalkOptions = {}): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (directory: Buffer, prefix: string) => {
    for (const name of readdirSync(directory, { encoding: 'buffer' })) {
      const text = name.toString('utf8');
      const exact = Buffer.from(text).equals(name) ? text : `hex:${name.toString('hex')}`;
      if (prefix === '' && (exact === '.twinsite' || exact === 'deposits')) continue;
      const path = Buffer.concat([directory, Buffer.from('/'), name]);
      const key = prefix === '' ? exact : `${prefix}/${exact}`;
      const what = describe(path, options);
      found.set(key, what);
      if (what.startsWith('dir ')) visit(path, key);
    }
  };
  visit(Buffer.from(root), '');
  return found;
}

/** The differences of two trees, one line each, at most 20; empty when they are equal. */
export function treeDifferences(a: string, b: string, options: WalkOptions = {}): string[] {
  const left = walkTree(a, options);
  const right = walkTree(b, options);
  const lines: string[] = [];
  for (const key of new Set([...left.keys(), ...right.keys()])) {
    const [one, other] = [left.get(key), right.get(key)];
    if (one !== other) lines.push(`${key}: ${one ?? '-'} | ${other ?? '-'}`);
  }
  return lines.slice(0, 20);
}
