/** The query of `GET /deposits`, parsed with limits. */
import { z } from 'zod';
import type { Account } from '../../core/accounts.ts';
import { AppError } from '../../core/errors.ts';
import { type AccountName, parseAccountName } from '../../core/ids.ts';
import type { DepositQuery } from '../../core/ports.ts';

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 200;

const name = z.string().transform((text, context): AccountName => {
  const parsed = parseAccountName(text);
  if (parsed !== null) return parsed;
  context.addIssue({ code: 'custom', message: 'is no name' });
  return z.NEVER;
});
const time = z
  .string()
  .regex(
    /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/,
    'is no RFC 3339 time such as 2026-01-31 or 2026-01-31T12:00:00Z',
  )
  .transform((text, context) => {
    const at = Date.parse(text);
    if (!Number.isNaN(at)) return new Date(at).toISOString();
    context.addIssue({ code: 'custom', message: 'is no time' });
    return z.NEVER;
  });

const querySchema = z.strictObject({
  collection: name.optional(),
  depositor: name.optional(),
  state: z.enum(['in-progress', 'deposited', 'withdrawn', 'purged']).optional(),
  from: time.optional(),
  until: time.optional(),
  name: z.string().min(1).max(1024).optional(),
  digest: z
    .string()
    .toLowerCase()
    .regex(/^[0-9a-f]{64}$/, 'is no SHA-256 in hex')
    .optional(),
  limit: z
    .string()
    .regex(/^\d{1,4}$/, 'is no number')
    .transform(Number)
    .pipe(z.int().min(1).max(MAX_LIMIT))
    .default(DEFAULT_LIMIT),
  cursor: z.string().min(1).max(512).optional(),
});

function visibleTo(account: Account): Pick<DepositQuery, 'visibleTo'> {
  if (account.kind === 'admin') return {};
  const readable = [...account.rights].filter(([, rights]) => rights.has('read'));
  return {
    visibleTo: { depositor: account.name, collections: readable.map(([collection]) => collection) },
  };
}

/** Throws AppError `bad-request` that names the parameter; an unknown one is an error too. */
export function parseListQuery(
  parameters: Readonly<Record<string, string>>,
  account: Account,
): DepositQuery {
  const result = querySchema.safeParse(parameters);
  if (!result.success) {
    const issue = result.error.issues[0];
    const where = issue?.path.join('.') ?? '';
    throw new AppError(
      'bad-request',
      `${where ? `${where}: ` : ''}${issue?.message ?? 'malformed'}`,
    );
  }
  const given = Object.entries(result.data).filter(([, value]) => value !== undefined);
  return { ...(Object.fromEntries(given) as unknown as DepositQuery), ...visibleTo(account) };
}
