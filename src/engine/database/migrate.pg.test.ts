import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { startTestPostgres, type TestPostgres } from '../../../test/support/postgres.ts';
import { silentLog } from '../../platform/log.ts';
import { MIGRATIONS, type Migration, migrate } from './migrate.ts';

let server: TestPostgres;
beforeAll(async () => {
  server = await startTestPostgres({ bare: true });
}, 60_000);
afterAll(async () => {
  await server.stop();
}, 30_000);

const run = (migrations?: readonly Migration[]) =>
  migrate(server.pools.admin, silentLog, migrations).then(
    (names) => names.join(),
    (error: unknown) => String(error),
  );

async function applied(): Promise<string[]> {
  const rows = await server.pools.admin<{ name: string }[]>`
    SELECT name FROM node.migrations ORDER BY name`;
  return rows.map((row) => row.name);
}

describe('migrate', () => {
  const names = MIGRATIONS.map((migration) => migration.name);

  test('several at once: one applies, the others find it done', async () => {
    const results = await Promise.all([run(), run(), run()]);
    expect(results.filter((result) => result !== '')).toEqual([names.join()]);
    expect(await applied()).toEqual(names);
    expect(await run()).toBe('');
  });

  test('a broken file leaves nothing behind and can be mended', async () => {
    const broken = { name: '9998_x', sql: 'CREATE TABLE node.half (n int); SELECT no_such()' };
    expect(await run([...MIGRATIONS, broken])).toContain('9998_x failed');
    const half = await server.pools.admin`SELECT to_regclass('node.half') AS t`;
    expect(half[0]?.['t']).toBeNull();
    expect(await applied()).toEqual(names);
    const mended = { ...broken, sql: 'CREATE TABLE node.half (n int)' };
    expect(await run([...MIGRATIONS, mended])).toBe('9998_x');
  });

  test('a changed or unknown file stops the start', async () => {
    const changed = { name: '9998_x', sql: 'SELECT 1' };
    expect(await run([...MIGRATIONS, changed])).toContain('differs');
    expect(await run()).toContain('newer Twinsite (migration 9998_x)');
  });

  test('names the incarnation once', async () => {
    const rows = await server.pools.service<{ value: string }[]>`
      SELECT value FROM node.facts WHERE name = 'incarnation'`;
    expect(rows.length).toBe(1);
    expect(rows[0]?.value).toMatch(/^[0-9a-f-]{36}$/);
  });
});
