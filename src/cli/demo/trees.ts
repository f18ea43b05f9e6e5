/** Compares two stores without asking Twinsite: every file is read and hashed. */
import { createHash } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import path from 'node:path';

/** Never replicated: private to the store. */
const PRIVATE = '.twinsite';

/** Path → `file <size> <sha256>`, `directory`, or `link <target>`, below `root`. */
export async function hashTree(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const walk = async (relative: string): Promise<void> => {
    const entries = await fs.readdir(path.join(root, relative), { withFileTypes: true });
    for (const entry of entries) {
      const below = path.join(relative, entry.name);
      if (below === PRIVATE) continue;
      const full = path.join(root, below);
      if (entry.isDirectory()) {
        found.set(below, 'directory');
        await walk(below);
      } else if (entry.isSymbolicLink()) found.set(below, `link ${await fs.readlink(full)}`);
      else if (entry.isFile()) found.set(below, await hashFile(full));
    }
  };
  await walk('');
  return found;
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(file)) {
    const bytes = chunk as Uint8Array;
    hash.update(bytes);
    size += bytes.length;
  }
  return `file ${size} ${hash.digest('hex')}`;
}

/** The first differences as sentences; empty when both are equal. */
export function differences(
  a: ReadonlyMap<string, string>,
  b: ReadonlyMap<string, string>,
  limit = 5,
): string[] {
  const found: string[] = [];
  for (const name of [...new Set([...a.keys(), ...b.keys()])].sort()) {
    const atA = a.get(name) ?? 'missing';
    const atB = b.get(name) ?? 'missing';
    if (atA !== atB) found.push(`${name}: ${atA} at A, ${atB} at B`);
    if (found.length >= limit) break;
  }
  return found;
}
