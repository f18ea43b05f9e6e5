/** What was set aside in `.twinsite/trash` and `.twinsite/conflicts`: where it lies and what it is. */
import type { Database, Statement } from 'bun:sqlite';
import type { TreePath } from '../../../core/tree-path.ts';
import { blob, hashBlob, hashText, unblob } from './rows.ts';

export type KeptKind = 'trash' | 'conflict';

export interface KeptFile {
  readonly kind: KeptKind;
  /** Below `.twinsite`. */
  readonly place: TreePath;
  /** Where it was. */
  readonly path: TreePath;
  readonly hash: string;
  readonly size: number;
  /** The site that wrote it. */
  readonly site: string;
  /** Journal number of a conflict copy that the peer is to keep too; 0 otherwise. */
  readonly seq: number;
  /** Wall time, for people. */
  readonly keptAt: string;
}

interface KeptRow {
  id: number;
  kind: KeptKind;
  place: Uint8Array;
  path: Uint8Array;
  hash: Uint8Array;
  size: number;
  site: string;
  seq: number;
  kept_at: string;
}

const SELECT = 'SELECT id, kind, place, path, hash, size, site, seq, kept_at FROM kept';

function fromRow(row: KeptRow): KeptFile {
  return {
    kind: row.kind,
    place: unblob(row.place) as TreePath,
    path: unblob(row.path) as TreePath,
    hash: hashText(row.hash),
    size: row.size,
    site: row.site,
    seq: row.seq,
    keptAt: row.kept_at,
  };
}

/** Every write belongs into FileIndex.write. */
export class KeptList {
  readonly #db: Database;
  readonly #withHash: Statement<KeptRow, [Buffer]>;

  constructor(db: Database) {
    this.#db = db;
    this.#withHash = db.prepare(`${SELECT} WHERE hash = ? LIMIT 8`);
  }

  add(file: KeptFile): void {
    this.#db
      .query(
        `INSERT OR REPLACE INTO kept (kind, place, path, hash, size, site, seq, kept_at, age_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`,
      )
      .run(
        file.kind,
        blob(file.place),
        blob(file.path),
        hashBlob(file.hash),
        file.size,
        file.site,
        file.seq,
        file.keptAt,
      );
  }

  remove(place: TreePath): void {
    this.#db.query('DELETE FROM kept WHERE place = ?').run(blob(place));
  }

  has(hash: string): boolean {
    return this.#withHash.get(hashBlob(hash)) !== null;
  }

  withHash(hash: string): readonly KeptFile[] {
    return this.#withHash.all(hashBlob(hash)).map(fromRow);
  }

  /** Conflict copies of one path, oldest first. */
  conflictsOf(path: TreePath): readonly KeptFile[] {
    return this.#db
      .query<KeptRow, [Buffer]>(`${SELECT} WHERE path = ? AND kind = 'conflict' ORDER BY id`)
      .all(blob(path))
      .map(fromRow);
  }

  /** Conflict copies in the journal after `since`, up to `until`. */
  journal(since: number, until: number, limit: number): readonly KeptFile[] {
    return this.#db
      .query<KeptRow, [number, number, number]>(
        `${SELECT} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?`,
      )
      .all(since, until, limit)
      .map(fromRow);
  }

  conflictPage(limit: number): readonly KeptFile[] {
    return this.#db
      .query<KeptRow, [number]>(`${SELECT} WHERE kind = 'conflict' AND seq > 0 ORDER BY id LIMIT ?`)
      .all(limit)
      .map(fromRow);
  }

  /** Ages count uptime, so that a clock that jumps purges nothing. */
  grow(ms: number): void {
    this.#db.query('UPDATE kept SET age_ms = age_ms + ?').run(Math.round(ms));
  }

  /** Trash older than `ms` of uptime, or the oldest when `ms` is 0. */
  oldestTrash(ms: number, limit: number): readonly KeptFile[] {
    return this.#db
      .query<KeptRow, [number, number]>(
        `${SELECT} WHERE kind = 'trash' AND age_ms >= ? ORDER BY id LIMIT ?`,
      )
      .all(ms, limit)
      .map(fromRow);
  }

  counts(kind: KeptKind): { entries: number; bytes: number; oldestAt: string | null } {
    const row = this.#db
      .query<{ n: number; b: number; o: string | null }, [string]>(
        'SELECT count(*) n, coalesce(sum(size), 0) b, min(kept_at) o FROM kept WHERE kind = ?',
      )
      .get(kind);
    return { entries: row?.n ?? 0, bytes: row?.b ?? 0, oldestAt: row?.o ?? null };
  }

  /** Before the database is closed. */
  close(): void {
    this.#withHash.finalize();
  }
}
