/**
 * What this site knows about its store: one row per path, the journal (the rows by seq), and the sum
 * that proves equality with the peer. Bound to one store and its generation; another one makes it new.
 */
import type { Database, SQLQueryBindings, Statement } from 'bun:sqlite';
import { randomUUID } from 'node:crypto';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { TreePath } from '../../../core/tree-path.ts';
import { HeldList } from './held-list.ts';
import { KeptList } from './kept-list.ts';
import { Meta } from './meta.ts';
import { NeedList } from './need-list.ts';
import {
  blob,
  COLUMNS,
  fromStored,
  hashBlob,
  type IndexRow,
  PUT,
  type RowSketch,
  type StoredRow,
  toStored,
  typeOf,
  unblob,
} from './rows.ts';
import { bindDatabase, openDatabase } from './schema.ts';
import { createTreeDigest, moveSum, sumText, type TreeDigest } from './tree-digest.ts';
import { createWalFlush, type WalFlush } from './wal-flush.ts';

const SELECT = `SELECT ${COLUMNS} FROM entries`;

export interface IndexOptions {
  readonly file: string;
  readonly storeId: string;
  readonly generation: string;
  readonly pairSecret: string;
}

export interface TreeTotals {
  readonly entries: number;
  readonly bytes: number;
}

export class FileIndex {
  readonly need: NeedList;
  readonly kept: KeptList;
  readonly held: HeldList;
  readonly meta: Meta;
  readonly #db: Database;
  readonly #digest: TreeDigest;
  readonly #wal: WalFlush;
  readonly #get: Statement<StoredRow, [Buffer]>;
  readonly #seen: Statement<Pick<StoredRow, 'seen'>, [Buffer]>;
  readonly #claims: Statement<{ one: number }, [Buffer]>;
  readonly #put: Statement<unknown, SQLQueryBindings[]>;
  readonly #withHash: Statement<StoredRow, [Buffer]>;
  #sum: bigint;
  #entries: number;
  #bytes: number;
  #seq: number;
  #missing: number;
  #durableSeq: number;

  private constructor(db: Database, options: IndexOptions) {
    this.#db = db;
    this.#digest = createTreeDigest(options.pairSecret);
    this.#wal = createWalFlush(options.file);
    bindDatabase(db, `${options.storeId}/${options.generation}`);
    this.meta = new Meta(db);
    this.need = new NeedList(db);
    this.kept = new KeptList(db);
    this.held = new HeldList(db);
    this.#get = db.prepare(`${SELECT} WHERE path = ?`);
    this.#put = db.prepare(PUT);
    this.#seen = db.prepare('SELECT seen FROM entries WHERE path = ?');
    this.#claims = db.prepare(
      'SELECT 1 one FROM entries WHERE hash = ? AND type = 0 AND deleted = 0 LIMIT 1',
    );
    this.#withHash = db.prepare(
      `${SELECT} WHERE hash = ? AND type = 0 AND deleted = 0 AND missing = 0 LIMIT 8`,
    );
    this.#sum = BigInt(`0x${this.meta.get('sum') ?? '0'}`);
    this.#seq = Number(this.meta.get('seq') ?? '0');
    this.#durableSeq = 0;
    const live = db
      .query<{ n: number; b: number; m: number }, []>(
        'SELECT count(*) n, coalesce(sum(size), 0) b, coalesce(sum(missing), 0) m FROM entries WHERE deleted = 0',
      )
      .get();
    this.#entries = live?.n ?? 0;
    this.#bytes = live?.b ?? 0;
    this.#missing = live?.m ?? 0;
  }

  /** Opens or makes the index; what it held of another store or generation is dropped. */
  static open(options: IndexOptions): FileIndex {
    return new FileIndex(openDatabase(options.file), options);
  }

  get incarnation(): string {
    return this.meta.get('incarnation') ?? '';
  }

  /** Highest number of the journal, durable or not. */
  get seq(): number {
    return this.#seq;
  }

  /** Highest number known to be on disk: nothing above it may leave this site. */
  get durableSeq(): number {
    return this.#durableSeq;
  }

  get root(): string {
    return sumText(this.#sum);
  }

  get totals(): TreeTotals {
    return { entries: this.#entries, bytes: this.#bytes };
  }

  /** Live entries whose bytes are gone here. */
  get missing(): number {
    return this.#missing;
  }

  /** Runs `work` in one transaction. Not durable before flushed(). */
  write<T>(work: () => T): T {
    const before = { sum: this.#sum, entries: this.#entries, bytes: this.#bytes, seq: this.#seq };
    const missing = this.#missing;
    try {
      return this.#db.transaction(() => {
        const result = work();
        if (this.#sum !== before.sum) this.meta.set('sum', this.#sum.toString(16));
        if (this.#seq !== before.seq) this.meta.set('seq', String(this.#seq));
        return result;
      })();
    } catch (error) {
      this.#sum = before.sum;
      this.#entries = before.entries;
      this.#bytes = before.bytes;
      this.#seq = before.seq;
      this.#missing = missing;
      for (const part of [this.meta, this.need, this.held]) part.reload();
      throw error;
    }
  }

  /** Resolves when everything written before is on disk. */
  async flushed(): Promise<void> {
    const seq = this.#seq;
    await this.#wal.flushed();
    this.#durableSeq = Math.max(this.#durableSeq, seq);
  }

  /** The next journal number. Inside write only. */
  nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  /** Writes a row over what stood for its path (`before`, if the caller just read it). Inside write only. */
  put(row: IndexRow, before: IndexRow | null = this.get(row.entry.path)): void {
    this.#account(before, -1);
    this.#account(row, 1);
    this.#sum = moveSum(
      this.#sum,
      before ? this.#digest.weight(before.entry) : 0n,
      this.#digest.weight(row.entry),
    );
    this.#put.run(...toStored(row));
  }

  /** Remembers another look at an unchanged entry. */
  setSeen(path: TreePath, seen: string | null, ino: bigint | null): void {
    this.#db
      .query('UPDATE entries SET seen = ?, ino = ? WHERE path = ?')
      .run(seen, ino === null ? null : ino.toString(), blob(path));
  }

  setMissing(path: TreePath, missing: boolean): void {
    const changed = this.#db
      .query('UPDATE entries SET missing = ? WHERE path = ? AND deleted = 0 AND missing <> ?')
      .run(missing ? 1 : 0, blob(path), missing ? 1 : 0).changes;
    this.#missing += missing ? changed : -changed;
  }

  get(path: TreePath): IndexRow | null {
    const row = this.#get.get(blob(path));
    return row ? fromStored(row) : null;
  }

  /** The token of the last look at a path; null when there is none. */
  seenOf(path: TreePath): string | null {
    return this.#seen.get(blob(path))?.seen ?? null;
  }

  /** Live entries directly in a directory. */
  children(directory: TreePath): readonly RowSketch[] {
    return this.#db
      .query<Pick<StoredRow, 'path' | 'type' | 'seen' | 'missing'>, [Buffer]>(
        'SELECT path, type, seen, missing FROM entries WHERE parent = ? AND deleted = 0',
      )
      .all(blob(directory))
      .map((row) => ({
        path: unblob(row.path) as TreePath,
        type: typeOf(row.type),
        seen: row.seen,
        missing: row.missing === 1,
      }));
  }

  /** Live paths below a directory, children after their parents. */
  below(directory: TreePath): readonly TreePath[] {
    return this.#db
      .query<{ path: Uint8Array }, [Buffer, Buffer]>(
        'SELECT path FROM entries WHERE path >= ? AND path < ? AND deleted = 0 ORDER BY path',
      )
      .all(blob(`${directory}/`), blob(`${directory}0`))
      .map((row) => unblob(row.path) as TreePath);
  }

  hasLiveBelow(directory: TreePath): boolean {
    return (
      this.#db
        .query<{ one: number }, [Buffer, Buffer]>(
          'SELECT 1 one FROM entries WHERE path >= ? AND path < ? AND deleted = 0 AND missing = 0 LIMIT 1',
        )
        .get(blob(`${directory}/`), blob(`${directory}0`)) !== null
    );
  }

  /** Live files here with this content; a few are enough. */
  withHash(hash: string): readonly IndexRow[] {
    return this.#withHash.all(hashBlob(hash)).map(fromStored);
  }

  /** True when some live entry is said to have this content, even if its bytes are gone. */
  claims(hash: string): boolean {
    return this.#claims.get(hashBlob(hash)) !== null;
  }

  /** True when the row's inode is known under another live name, with the same content. */
  isElsewhere({ entry, ino }: IndexRow): boolean {
    if (ino === null) return false;
    return (
      this.#db
        .query<{ one: number }, [string, Buffer, Buffer]>(
          'SELECT 1 one FROM entries WHERE ino = ? AND deleted = 0 AND path <> ? AND hash = ? LIMIT 1',
        )
        .get(ino.toString(), blob(entry.path), hashBlob(entry.hash)) !== null
    );
  }

  /** True when the content is kept somewhere other than at `path`, or was part of its history. */
  isKnown(hash: string, path: TreePath): boolean {
    const row = this.#db
      .query<{ one: number }, [Buffer, Buffer]>(
        'SELECT 1 one FROM entries WHERE hash = ? AND type = 0 AND path <> ? LIMIT 1',
      )
      .get(hashBlob(hash), blob(path));
    return row !== null || this.kept.has(hash);
  }

  /** The journal after `since`, in order, only what is durable. */
  journal(since: number, limit: number): readonly IndexRow[] {
    return this.#db
      .query<StoredRow, [number, number, number]>(
        `${SELECT} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?`,
      )
      .all(since, this.#durableSeq, limit)
      .map(fromStored);
  }

  /** Every row in path order, tombstones too, for a peer that has no place in the journal. */
  page(after: TreePath, limit: number): readonly IndexRow[] {
    return this.#db
      .query<StoredRow, [Buffer, number]>(`${SELECT} WHERE path > ? ORDER BY path LIMIT ?`)
      .all(blob(after), limit)
      .map(fromStored);
  }

  missingPage(after: TreePath, limit: number): readonly ManifestEntry[] {
    return this.#db
      .query<StoredRow, [Buffer, number]>(
        `${SELECT} WHERE missing = 1 AND path > ? ORDER BY path LIMIT ?`,
      )
      .all(blob(after), limit)
      .map((row) => fromStored(row).entry);
  }

  /**
   * A new incarnation after this index was rolled back: numbers above `trusted` may have been used
   * for other content, so what they stand for counts as found without history. Inside write only.
   */
  startNewIncarnation(writer: string, trusted: number): void {
    this.meta.set('incarnation', randomUUID());
    const rows = this.#db
      .query<StoredRow, [number]>(`${SELECT} WHERE seq > ?`)
      .all(trusted)
      .map(fromStored);
    for (const row of rows) {
      if ((row.entry.version[writer] ?? 0) > trusted) {
        this.put({ ...row, entry: { ...row.entry, version: {} } });
      }
    }
  }

  async close(): Promise<void> {
    await this.#wal.close();
    // A statement left open would keep the file and its lock.
    const statements = [this.#get, this.#put, this.#withHash, this.#seen, this.#claims];
    for (const statement of statements) statement.finalize();
    this.need.close();
    this.kept.close();
    this.#db.close();
  }

  #account(row: IndexRow | null, sign: 1 | -1): void {
    if (!row || row.entry.deleted) return;
    this.#entries += sign;
    this.#bytes += sign * row.entry.size;
    if (row.missing) this.#missing += sign;
  }
}
