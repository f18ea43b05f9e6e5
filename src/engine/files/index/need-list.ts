/**
 * The durable list of what the peer told and is not in place yet: one item per path, the newest. What
 * stands here counts as acknowledged to the peer; one item that cannot be done blocks no other.
 */
import type { Database, Statement } from 'bun:sqlite';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import { decodeEntry, encodeEntry } from './entry-text.ts';
import { blob, hashBlob, hashText, unblob } from './rows.ts';

export interface NeedItem {
  readonly id: number;
  readonly entry: ManifestEntry;
  /** Brings back what was lost here; the entry is this site's own knowledge. */
  readonly heal: boolean;
}

/** A conflict's loser that the peer kept and this site is to keep too. */
export interface CopyNeeded {
  readonly id: number;
  readonly path: TreePath;
  readonly hash: string;
  readonly size: number;
  readonly site: string;
}

interface NeedRow {
  id: number;
  entry: string;
  heal: number;
}

/** Every write belongs into FileIndex.write. */
export class NeedList {
  readonly #db: Database;
  readonly #get: Statement<NeedRow, [Buffer]>;
  #size = 0;
  #held = 0;
  #heals = 0;

  constructor(db: Database) {
    this.#db = db;
    this.#get = db.prepare('SELECT id, entry, heal FROM need WHERE path = ?');
    this.reload();
  }

  /** After a transaction was undone. */
  reload(): void {
    const row = this.#db
      .query<{ n: number; h: number; l: number }, []>(
        'SELECT count(*) n, coalesce(sum(held), 0) h, coalesce(sum(heal), 0) l FROM need',
      )
      .get();
    this.#size = row?.n ?? 0;
    this.#held = row?.h ?? 0;
    this.#heals = row?.l ?? 0;
  }

  /** Items that are not held for a person. */
  open(): number {
    return this.#size - this.#held;
  }

  /** Of the open ones, those that the peer told: not what is only to be healed. */
  told(): number {
    return this.#size - this.#held - this.#heals;
  }

  /** Replaces what stood for the path; a heal never replaces what the peer told. */
  add(entry: ManifestEntry, heal = false): void {
    const existing = this.#db
      .query<{ held: number }, [Buffer]>('SELECT held FROM need WHERE path = ?')
      .get(blob(entry.path));
    if (existing && heal) return;
    if (existing) this.remove(entry.path);
    this.#db
      .query('INSERT INTO need (path, entry, size, heal, held) VALUES (?, ?, ?, ?, 0)')
      .run(blob(entry.path), encodeEntry(entry), entry.size, heal ? 1 : 0);
    this.#size += 1;
    if (heal) this.#heals += 1;
  }

  remove(path: TreePath): void {
    if (this.#size === 0) return;
    const row = this.#db
      .query<{ held: number; heal: number }, [Buffer]>(
        'DELETE FROM need WHERE path = ? RETURNING held, heal',
      )
      .get(blob(path));
    if (!row) return;
    this.#size -= 1;
    this.#held -= row.held;
    this.#heals -= row.heal;
  }

  hold(path: TreePath): void {
    const changed = this.#db
      .query('UPDATE need SET held = 1 WHERE path = ? AND held = 0 AND heal = 0')
      .run(blob(path)).changes;
    this.#held += changed;
  }

  fail(path: TreePath, error: string): void {
    this.#db.query('UPDATE need SET error = ? WHERE path = ?').run(error, blob(path));
  }

  get(path: TreePath): NeedItem | null {
    if (this.#size === 0) return null;
    const row = this.#get.get(blob(path));
    return row ? item(row) : null;
  }

  /** Items after `afterId` in the order they were told, of `fromSize` to `toSize` bytes. */
  next(afterId: number, fromSize: number, toSize: number, limit: number): readonly NeedItem[] {
    return this.#db
      .query<NeedRow, [number, number, number, number]>(
        `SELECT id, entry, heal FROM need
         WHERE id > ? AND held = 0 AND size >= ? AND size <= ? ORDER BY id LIMIT ?`,
      )
      .all(afterId, fromSize, toSize, limit)
      .map(item);
  }

  /** True when anything below the directory waits. */
  hasBelow(directory: TreePath): boolean {
    return (
      this.#db
        .query<{ one: number }, [Buffer, Buffer]>(
          'SELECT 1 one FROM need WHERE path >= ? AND path < ? LIMIT 1',
        )
        .get(blob(`${directory}/`), blob(`${directory}0`)) !== null
    );
  }

  bytes(): number {
    return (
      this.#db
        .query<{ b: number }, []>('SELECT coalesce(sum(size), 0) b FROM need WHERE held = 0')
        .get()?.b ?? 0
    );
  }

  addCopy(copy: Omit<CopyNeeded, 'id'>): void {
    this.#db
      .query('INSERT OR IGNORE INTO copies_needed (path, hash, size, site) VALUES (?, ?, ?, ?)')
      .run(blob(copy.path), hashBlob(copy.hash), copy.size, copy.site);
  }

  copies(limit: number): readonly CopyNeeded[] {
    return this.#db
      .query<
        { id: number; path: Uint8Array; hash: Uint8Array; size: number; site: string },
        [number]
      >('SELECT id, path, hash, size, site FROM copies_needed ORDER BY id LIMIT ?')
      .all(limit)
      .map((row) => ({
        id: row.id,
        path: unblob(row.path) as TreePath,
        hash: hashText(row.hash),
        size: row.size,
        site: row.site,
      }));
  }

  removeCopy(id: number): void {
    this.#db.query('DELETE FROM copies_needed WHERE id = ?').run(id);
  }

  /** Before the database is closed. */
  close(): void {
    this.#get.finalize();
  }
}

function item(row: NeedRow): NeedItem {
  return { id: row.id, entry: decodeEntry(row.entry), heal: row.heal === 1 };
}
