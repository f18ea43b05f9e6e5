/** The index's tables. Names, hashes and targets are blobs: bytes, never text. */
import { Database } from 'bun:sqlite';
import { randomUUID } from 'node:crypto';
import { AppError, describeError } from '../../../core/errors.ts';

const VERSION = 1;

const TABLES = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL UNIQUE,
  parent BLOB NOT NULL,
  type INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  size INTEGER NOT NULL,
  hash BLOB NOT NULL,
  target BLOB,
  mode INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  mtime_ns TEXT NOT NULL,
  version TEXT NOT NULL,
  stamp TEXT NOT NULL,
  base BLOB,
  evidence TEXT,
  seq INTEGER NOT NULL,
  seen TEXT,
  ino TEXT,
  missing INTEGER NOT NULL
);
CREATE INDEX entries_parent ON entries (parent);
CREATE INDEX entries_seq ON entries (seq) WHERE seq > 0;
CREATE INDEX entries_hash ON entries (hash) WHERE type = 0;
CREATE INDEX entries_ino ON entries (ino) WHERE deleted = 0;
CREATE INDEX entries_missing ON entries (missing) WHERE missing = 1;
CREATE TABLE need (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL UNIQUE,
  entry TEXT NOT NULL,
  size INTEGER NOT NULL,
  heal INTEGER NOT NULL,
  held INTEGER NOT NULL,
  error TEXT
);
CREATE TABLE copies_needed (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL,
  hash BLOB NOT NULL,
  size INTEGER NOT NULL,
  site TEXT NOT NULL,
  UNIQUE (path, hash)
);
CREATE TABLE held (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL,
  direction TEXT NOT NULL,
  kind TEXT NOT NULL,
  UNIQUE (path, direction)
);
CREATE TABLE kept (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  place BLOB NOT NULL UNIQUE,
  path BLOB NOT NULL,
  hash BLOB NOT NULL,
  size INTEGER NOT NULL,
  site TEXT NOT NULL,
  seq INTEGER NOT NULL,
  kept_at TEXT NOT NULL,
  age_ms INTEGER NOT NULL
);
CREATE INDEX kept_hash ON kept (hash);
CREATE INDEX kept_path ON kept (path);
CREATE INDEX kept_seq ON kept (seq) WHERE seq > 0;
`;

/**
 * Opens or makes the database file. A commit is durable only after the write-ahead log was flushed:
 * FileIndex.flushed does that off the main thread, in place of `synchronous = FULL`, which would stop
 * the whole process for as long as a busy disk takes.
 * Throws AppError `data-locked` or `config`.
 */
export function openDatabase(file: string): Database {
  let db: Database;
  try {
    db = new Database(file, { create: true, strict: true });
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;');
    db.exec('PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384; BEGIN IMMEDIATE; COMMIT;');
  } catch (error) {
    const locked = describeError(error).includes('locked');
    throw new AppError(
      locked ? 'data-locked' : 'config',
      `the file index ${file} cannot be opened: ${describeError(error)}; ` +
        (locked
          ? 'another process uses it: stop that one'
          : 'if it is damaged, move it away: it is made anew and nothing is lost'),
      { cause: error },
    );
  }
  const row = db.query<{ user_version: number }, []>('PRAGMA user_version').get();
  if (row?.user_version === 0) {
    db.transaction(() => {
      db.exec(TABLES);
      db.exec(`PRAGMA user_version = ${VERSION}`);
    })();
  } else if (row?.user_version !== VERSION) {
    throw new AppError(
      'config',
      `the file index ${file} has format ${row?.user_version}, this build knows ${VERSION}; ` +
        'run the newer build, or move the file away: it is made anew and nothing is lost',
    );
  }
  return db;
}

/** Binds the index to a store; another store's knowledge is dropped, never carried over. */
export function bindDatabase(db: Database, store: string): void {
  const bound = db
    .query<{ value: string }, []>("SELECT value FROM meta WHERE key = 'store'")
    .get()?.value;
  if (bound === store) return;
  db.transaction(() => {
    for (const table of ['entries', 'need', 'copies_needed', 'held', 'kept', 'meta']) {
      db.exec(`DELETE FROM ${table}`);
    }
    const set = db.query('INSERT INTO meta (key, value) VALUES (?, ?)');
    set.run('store', store);
    set.run('incarnation', randomUUID());
  })();
}
