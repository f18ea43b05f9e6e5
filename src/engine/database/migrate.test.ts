import { describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { MIGRATIONS, type Migration, planMigrations } from './migrate.ts';

const FILES: readonly Migration[] = [
  { name: '0001_a', sql: 'SELECT 1' },
  { name: '0002_b', sql: 'SELECT 2' },
];
const done = (file: Migration) => ({
  name: file.name,
  sha256: createHash('sha256').update(file.sql).digest('hex'),
});

describe('migrations', () => {
  test('what is missing runs, in order', () => {
    expect(planMigrations(FILES, [])).toEqual(FILES);
    expect(planMigrations(FILES, FILES.slice(0, 1).map(done))).toEqual(FILES.slice(1));
    expect(planMigrations(FILES, FILES.map(done))).toEqual([]);
  });

  test('a database of a newer release is refused', () => {
    expect(() => planMigrations(FILES.slice(0, 1), FILES.map(done))).toThrow('newer Twinsite');
  });

  test('a file that changed after it was applied is refused', () => {
    const changed = [{ name: '0001_a', sql: 'SELECT 9' }];
    expect(() => planMigrations(changed, FILES.slice(0, 1).map(done))).toThrow('differs');
  });

  test('every file of migrations/ is built in, sorted by name', () => {
    const directory = path.resolve(import.meta.dir, '../../../migrations');
    const files = readdirSync(directory)
      .filter((name) => name.endsWith('.sql'))
      .sort();
    expect(MIGRATIONS.map((migration) => `${migration.name}.sql`)).toEqual(files);
    for (const migration of MIGRATIONS) {
      const text = readFileSync(path.join(directory, `${migration.name}.sql`), 'utf8');
      expect(migration.sql).toBe(text);
    }
  });
});
