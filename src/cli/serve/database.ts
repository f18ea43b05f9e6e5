/** PostgreSQL, its schema and its pools. */
import { AppError } from '../../core/errors.ts';
import type { Service } from '../../core/service.ts';
import {
  type DatabaseEndpoint,
  type DatabasePools,
  openPools,
} from '../../engine/database/connections.ts';
import { migrate } from '../../engine/database/migrate.ts';
import { createEmbeddedPostgres } from '../../engine/database/server/embedded.ts';
import type { Ground } from './site.ts';

/** Replaying the log of a crash takes as long as it takes. */
const UP_WITHIN_MS = 15 * 60_000;

export interface DatabasePart {
  readonly endpoint: DatabaseEndpoint;
  readonly pools: DatabasePools;
  /** The server answers and the schema is this release's. */
  isUp(): boolean;
  /** Runs the service only once the schema is there. */
  afterSchema(service: Service): Service;
  version(): string;
  close(): Promise<void>;
}

export function openDatabase(ground: Ground): DatabasePart {
  const { config, log, tiers } = ground;
  if (config.database.mode === 'external') {
    throw new AppError(
      'config',
      '--database with an external server is not supported by this release. Leave it out to use the embedded PostgreSQL',
    );
  }
  const server = createEmbeddedPostgres({
    ...ground,
    dataDir: config.dataDir,
    pgUser: config.database.user ?? undefined,
    pgBin: config.database.binDir ?? undefined,
  });
  const pools = openPools(server.endpoint, log);
  let hasSchema = false;
  const whenSchema = Promise.withResolvers<void>();
  const schema: Service = {
    name: 'schema',
    async run({ signal, ready }) {
      await server.whenUp(signal, UP_WITHIN_MS);
      await migrate(pools.admin, log);
      hasSchema = true;
      whenSchema.resolve();
      ready();
      if (!signal.aborted) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      }
    },
  };
  tiers.start('database', server.service, schema);
  return {
    endpoint: server.endpoint,
    pools,
    isUp: () => hasSchema && server.isUp(),
    afterSchema: (service) => ({
      name: service.name,
      async run(context) {
        const stopped = new Promise<void>((resolve) =>
          context.signal.addEventListener('abort', () => resolve(), { once: true }),
        );
        if (context.signal.aborted) return;
        await Promise.race([whenSchema.promise, stopped]);
        if (!context.signal.aborted) await service.run(context);
      },
    }),
    version: () => server.version,
    close: () => pools.close(),
  };
}
