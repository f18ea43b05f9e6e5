/** Deletions and overwrites that the brake holds for a person, in either direction. */
import type { Database } from 'bun:sqlite';
import type { TreePath } from '../../../core/tree-path.ts';
import { blob } from './rows.ts';

/** `out`: seen here and not sent. `in`: told by the peer and not applied. */
export type HeldDirection = 'out' | 'in';
export type HeldKind = 'delete' | 'overwrite';

/** Every write belongs into FileIndex.write. */
export class HeldList {
  readonly #db: Database;
  #count = 0;

  constructor(db: Database) {
    this.#db = db;
    this.reload();
  }

  /** After a transaction was undone. */
  reload(): void {
    this.#count = this.#db.query<{ n: number }, []>('SELECT count(*) n FROM held').get()?.n ?? 0;
  }

  count(): number {
    return this.#count;
  }

  add(path: TreePath, direction: HeldDirection, kind: HeldKind): void {
    this.#count += this.#db
      .query('INSERT OR IGNORE INTO held (path, direction, kind) VALUES (?, ?, ?)')
      .run(blob(path), direction, kind).changes;
  }

  kindOf(path: TreePath, direction: HeldDirection): HeldKind | null {
    if (this.#count === 0) return null;
    const row = this.#db
      .query<{ kind: HeldKind }, [Buffer, string]>(
        'SELECT kind FROM held WHERE path = ? AND direction = ?',
      )
      .get(blob(path), direction);
    return row?.kind ?? null;
  }

  remove(path: TreePath, direction: HeldDirection): void {
    if (this.#count === 0) return;
    this.#count -= this.#db
      .query('DELETE FROM held WHERE path = ? AND direction = ?')
      .run(blob(path), direction).changes;
  }
}
