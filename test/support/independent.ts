/** Looks at stores and databases with code that is not the product's. */
import { createHash } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import path from 'node:path';
import postgres from 'postgres';
import type { SiteProcess } from './site-process.ts';

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export async function sha256File(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Relative path → `sha256` of every file, `dir` of every empty directory, `→ target` of links; without `.twinsite`. */
export async function treeOf(root: string, relative = ''): Promise<Map<string, string>> {
  const out = new Map<string, string>();
  const entries = await fs.readdir(path.join(root, relative), { withFileTypes: true });
  for (const entry of entries) {
    if (relative === '' && (entry.name === '.twinsite' || entry.name === 'lost+found')) continue;
    const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
    const full = path.join(root, name);
    if (entry.isSymbolicLink()) out.set(name, `→ ${await fs.readlink(full)}`);
    else if (entry.isDirectory()) {
      const below = await treeOf(root, name);
      if (below.size === 0) out.set(name, 'dir');
      for (const [key, value] of below) out.set(key, value);
    } else out.set(name, await sha256File(full));
  }
  return out;
}

/** Lines that say how two trees differ; empty when they are equal. */
export function treeDifference(a: Map<string, string>, b: Map<string, string>): string[] {
  const lines: string[] = [];
  for (const [name, value] of a) {
    if (b.get(name) !== value)
      lines.push(`${name}: a ${value.slice(0, 12)}, b ${b.get(name)?.slice(0, 12) ?? 'missing'}`);
  }
  for (const [name, value] of b)
    if (!a.has(name)) lines.push(`${name}: a missing, b ${value.slice(0, 12)}`);
  return lines;
}

/** One query against a site's PostgreSQL over its own socket. */
export async function query(site: SiteProcess, text: string): Promise<Record<string, unknown>[]> {
  const postmaster = site.postmaster();
  if (!postmaster) throw new Error(`${site.options.name}: no PostgreSQL`);
  const sql = postgres({
    path: path.join(postmaster.socketDirectory, '.s.PGSQL.5432'),
    username: 'twinsite',
    database: 'twinsite',
    max: 1,
    onnotice: () => undefined,
  });
  try {
    return [...(await sql.unsafe(text))] as Record<string, unknown>[];
  } finally {
    await sql.end({ timeout: 2 });
  }
}

/** A text that is equal when the replicated rows are. */
export async function rowsOf(site: SiteProcess): Promise<string> {
  const out: string[] = [];
  for (const table of ['deposits', 'deposit_files', 'events']) {
    const rows = await query(
      site,
      `SELECT to_jsonb(t)::text AS row FROM twinsite.${table} t ORDER BY id`,
    );
    out.push(`${table} ${rows.length}`, ...rows.map((row) => String(row['row'])));
  }
  return out.join('\n');
}
