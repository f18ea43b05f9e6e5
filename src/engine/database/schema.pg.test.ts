/** The drizzle tables, the two lists and the database's own catalogue must say the same. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { getTableConfig, type PgTable } from 'drizzle-orm/pg-core';
import { startTestPostgres, type TestPostgres } from '../../../test/support/postgres.ts';
import * as schema from './schema.ts';
import { NODE_LOCAL_TABLES, REPLICATED_TABLES } from './schema.ts';

const TABLES: readonly PgTable[] = [
  schema.deposits,
  schema.depositFiles,
  schema.events,
  schema.attestations,
  schema.vouched,
  schema.heldFiles,
  schema.neededFiles,
  schema.divergentRows,
  schema.facts,
  schema.migrations,
];
const NAMED = TABLES.map((table) => {
  const config = getTableConfig(table);
  return { name: `${config.schema}.${config.name}`, config };
});

/** Column types as drizzle writes them and as information_schema calls them. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  'timestamp with time zone': 'timestamp with time zone',
  bigint: 'bigint',
  bytea: 'bytea',
  integer: 'integer',
  jsonb: 'jsonb',
  text: 'text',
  uuid: 'uuid',
};

let server: TestPostgres;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(async () => {
  await server.stop();
}, 30_000);

describe('schema', () => {
  test('every table is in exactly one list', async () => {
    const rows = await server.pools.admin<{ name: string }[]>`
      SELECT table_schema || '.' || table_name AS name FROM information_schema.tables
      WHERE table_schema IN ('twinsite', 'node') ORDER BY 1`;
    const listed = [...REPLICATED_TABLES, ...NODE_LOCAL_TABLES];
    expect(rows.map((row) => row.name)).toEqual([...listed].sort());
    expect(new Set(listed).size).toBe(listed.length);
    expect(REPLICATED_TABLES.every((name) => name.startsWith('twinsite.'))).toBe(true);
    expect(NODE_LOCAL_TABLES.every((name) => name.startsWith('node.'))).toBe(true);
    expect(NAMED.map((table) => table.name).sort()).toEqual([...listed].sort());
  });

  test.each(NAMED.map((table) => [table.name, table.config] as const))(
    '%s has the columns and indexes that drizzle thinks',
    async (name, config) => {
      const [schemaName = '', tableName = ''] = name.split('.');
      const columns = await server.pools.admin<{ name: string; type: string; nullable: boolean }[]>`
        SELECT column_name AS name, data_type AS type, is_nullable = 'YES' AS nullable
        FROM information_schema.columns
        WHERE table_schema = ${schemaName} AND table_name = ${tableName}
        ORDER BY ordinal_position`;
      expect(
        config.columns.map((column) => ({
          name: column.name,
          type: TYPE_NAMES[column.getSQLType()] ?? column.getSQLType(),
          nullable: !column.notNull,
        })),
      ).toEqual(columns.map(({ name, type, nullable }) => ({ name, type, nullable })));
      const indexes = await server.pools.admin<{ name: string }[]>`
        SELECT indexname AS name FROM pg_indexes
        WHERE schemaname = ${schemaName} AND tablename = ${tableName}
          AND indexname <> ${`${tableName}_pkey`} ORDER BY 1`;
      expect(config.indexes.map((index) => index.config.name ?? '').sort()).toEqual(
        indexes.map((row) => row.name),
      );
    },
  );

  test('replicated tables: one unique index, on the uuid id; nothing that replication breaks on', async () => {
    const unique = await server.pools.admin<{ name: string; def: string }[]>`
      SELECT n.nspname || '.' || c.relname AS name, pg_get_indexdef(i.indexrelid) AS def
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'twinsite' AND i.indisunique ORDER BY 1`;
    expect(unique.map((row) => row.name)).toEqual([...REPLICATED_TABLES].sort());
    for (const row of unique) expect(row.def).toEndWith('USING btree (id)');
    const constraints = await server.pools.admin`
      SELECT conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
      WHERE n.nspname = 'twinsite' AND contype NOT IN ('p', 'n')`;
    expect([...constraints]).toEqual([]);
    const sequences = await server.pools.admin`
      SELECT 1 FROM pg_sequences WHERE schemaname = 'twinsite'`;
    expect(sequences.length).toBe(0);
    const columns = await server.pools.admin`
      SELECT 1 FROM information_schema.columns WHERE table_schema = 'twinsite'
        AND (column_default IS NOT NULL OR is_generated <> 'NEVER' OR is_identity = 'YES')`;
    expect(columns.length).toBe(0);
  });

  test('every replicated table has the skip-known trigger, for replication only', async () => {
    const rows = await server.pools.admin<{ name: string; enabled: string }[]>`
      SELECT n.nspname || '.' || c.relname AS name, t.tgenabled AS enabled
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE t.tgname = 'skip_known' ORDER BY 1`;
    expect(rows.map((row) => row.name)).toEqual([...REPLICATED_TABLES].sort());
    expect(rows.every((row) => row.enabled === 'R')).toBe(true);
  });
});

describe('rights', () => {
  const privileges = async (role: string, table: string) => {
    const rows = await server.pools.admin<{ privilege: string }[]>`
      SELECT p AS privilege
      FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) p
      WHERE has_table_privilege(${role}, ${table}, p)`;
    return rows.map((row) => row.privilege).sort();
  };

  test('the service only adds and reads replicated rows', async () => {
    for (const table of REPLICATED_TABLES) {
      expect(await privileges('twinsite_service', table)).toEqual(['INSERT', 'SELECT']);
    }
    for (const table of NODE_LOCAL_TABLES) {
      const expected =
        table === 'node.migrations' ? ['SELECT'] : ['DELETE', 'INSERT', 'SELECT', 'UPDATE'];
      expect(await privileges('twinsite_service', table)).toEqual(expected);
    }
  });

  test('the peer reads replicated rows, and nothing else', async () => {
    for (const table of REPLICATED_TABLES) {
      expect(await privileges('twinsite_replication', table)).toEqual(['SELECT']);
    }
    for (const table of NODE_LOCAL_TABLES) {
      expect(await privileges('twinsite_replication', table)).toEqual([]);
    }
    const rows = await server.pools.admin<{ name: string; super: boolean; replication: boolean }[]>`
      SELECT rolname AS name, rolsuper AS super, rolreplication AS replication FROM pg_roles
      WHERE rolname LIKE 'twinsite%' ORDER BY 1`;
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { name: 'twinsite', super: true, replication: true },
      { name: 'twinsite_replication', super: false, replication: true },
      { name: 'twinsite_service', super: false, replication: false },
    ]);
  });

  test('the service cannot change a row even when it tries', async () => {
    const id = '00000000-0000-7000-8000-000000000001';
    await server.pools.db.insert(schema.deposits).values({
      id,
      collection: 'c',
      depositor: 'd',
      fileCount: 1,
      requestDigest: new Uint8Array(32).fill(7),
    });
    const [row] = await server.pools.db.select().from(schema.deposits);
    expect(row).toMatchObject({ id, collection: 'c', keyDigest: null });
    expect(new Uint8Array(row?.requestDigest ?? [])).toEqual(new Uint8Array(32).fill(7));
    const attempts = [
      server.pools.service`UPDATE twinsite.deposits SET collection = 'x'`,
      server.pools.service`DELETE FROM twinsite.deposits`,
      server.pools.service`TRUNCATE twinsite.deposits`,
      server.pools.service`ALTER TABLE twinsite.deposits DISABLE TRIGGER ALL`,
    ];
    for (const attempt of attempts) {
      const code = await attempt.then(
        () => 'allowed',
        (error: { code?: string }) => error.code,
      );
      expect(code).toBe('42501');
    }
  });
});
