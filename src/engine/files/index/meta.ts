import type { Database } from 'bun:sqlite';

/** Facts of the index: binding, incarnation, how far the peer is, how the last run ended. */
export type MetaKey =
  | 'store'
  | 'incarnation'
  | 'sum'
  | 'seq'
  /** `1` once a full scan of this incarnation is complete: what is new from then on was written, not found. */
  | 'history'
  | 'boot_id'
  /** `1` between a clean stop and the next start. */
  | 'clean'
  | 'peer_incarnation'
  /** The peer's journal is recorded here up to this number. */
  | 'peer_seq'
  /** This site's journal is recorded at the peer up to this number. */
  | 'acked_seq'
  | 'synced'
  /** `1` from a start after a power cut until everything is healed. */
  | 'cache_lost';

export class Meta {
  readonly #db: Database;
  #values = new Map<string, string>();

  constructor(db: Database) {
    this.#db = db;
    this.reload();
  }

  /** After a transaction was undone. */
  reload(): void {
    const rows = this.#db
      .query<{ key: string; value: string }, []>('SELECT key, value FROM meta')
      .all();
    this.#values = new Map(rows.map((row) => [row.key, row.value]));
  }

  get(key: MetaKey): string | null {
    return this.#values.get(key) ?? null;
  }

  number(key: MetaKey): number {
    return Number(this.#values.get(key) ?? '0');
  }

  set(key: MetaKey, value: string): void {
    this.#values.set(key, value);
    this.#db
      .query(
        'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      )
      .run(key, value);
  }

  remove(key: MetaKey): void {
    this.#values.delete(key);
    this.#db.query('DELETE FROM meta WHERE key = ?').run(key);
  }
}
