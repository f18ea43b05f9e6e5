/** What the site answers, as far as commands show it. Unknown fields are kept for --json. */
import { z } from 'zod';
import { AppError } from '../../core/errors.ts';

const text = z.string().nullable();
const store = z.looseObject({
  path: z.string(),
  health: z.enum(['ok', 'failed']),
  reason: text,
  freeBytes: z.number(),
  totalBytes: z.number(),
});

/** The parts of the status document that are shown. */
export const statusAnswer = z.looseObject({
  site: z.string(),
  peerSite: text,
  state: z.enum(['starting', 'joining', 'paired', 'alone', 'draining', 'failed']),
  epoch: z.number(),
  holder: text,
  since: z.string(),
  version: z.string(),
  ready: z.boolean(),
  readyRead: z.boolean(),
  mayBeStale: z.boolean(),
  durability: z.enum(['both', 'local']),
  filestore: z.looseObject({ path: z.string(), target: text, store: text }),
  store,
  peerStore: store.nullable(),
  peer: z
    .looseObject({
      verdict: z.enum(['alive', 'suspect', 'lost', 'unknown']),
      url: z.string(),
      rttMs: z.number().nullable(),
      lastHeardMs: z.number().nullable(),
      version: text,
    })
    .nullable(),
  files: z.looseObject({
    entries: z.number(),
    bytes: z.number(),
    pendingIn: z.number(),
    pendingOut: z.number(),
    oldestPendingMs: z.number(),
    conflicts: z.number(),
    rowsWithoutBytes: z.number(),
    heldDeletes: z.number(),
    sync: z.looseObject({
      phase: z.string(),
      filesDone: z.number(),
      filesTotal: z.number(),
      etaMs: z.number().nullable(),
    }),
  }),
  database: z.looseObject({
    inbound: z.enum(['streaming', 'catching-up', 'down']),
    outbound: z.enum(['streaming', 'catching-up', 'down']),
    lagBytes: z.number(),
    lagMs: z.number(),
    walKeptBytes: z.number(),
    walLimitBytes: z.number(),
    postgres: z.string(),
  }),
  alarms: z.array(
    z.looseObject({
      code: z.string(),
      severity: z.enum(['warning', 'critical']),
      since: z.string(),
      text: z.string(),
      runbook: z.string(),
    }),
  ),
});
export type StatusAnswer = z.infer<typeof statusAnswer>;

const records = z.array(z.looseObject({ name: z.string() }));
/** A list of collections, depositors or admins: an array, or {items: […]}. */
export const listAnswer = z.union([
  records,
  z.object({ items: records }).transform((answer) => answer.items),
]);

export const tokenAnswer = z.looseObject({ name: z.string(), token: z.string() });
export const switchoverAnswer = z.looseObject({
  holder: z.string(),
  epoch: z.union([z.number(), z.looseObject({ number: z.number() })]),
  tookMs: z.number(),
});
export const syncAnswer = z.looseObject({ ok: z.boolean(), tookMs: z.number() });

/** Throws AppError `internal` when program and site are not of one build. */
export function parseAnswer<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new AppError(
    'internal',
    `the site's answer is not understood (at '${where}'). Use the twinsite that runs there`,
  );
}
