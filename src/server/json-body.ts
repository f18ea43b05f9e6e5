/** Small JSON bodies, read within limits and parsed by a schema. */
import type { z } from 'zod';
import { AppError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';
import { readBody } from './deposit/body.ts';

const LIMITS = { maxBodyBytes: 64 * 1024, bodyIdleMs: 10_000 } as const;

/**
 * The body as the schema makes it; an empty one counts as `{}`. Throws AppError `bad-request` that
 * names the field, `too-large` or `body-incomplete`.
 */
export async function readJson<S extends z.ZodType>(
  request: Request,
  schema: S,
  clock: Clock,
): Promise<z.output<S>> {
  const chunks: Uint8Array[] = [];
  const collect = (chunk: Uint8Array) => {
    chunks.push(chunk);
    return Promise.resolve();
  };
  await readBody(request.body, collect, LIMITS, clock);
  const text = Buffer.concat(chunks).toString('utf8').trim();
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch {
    throw new AppError('bad-request', 'The body is no JSON.');
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.join('.') ?? '';
  throw new AppError('bad-request', `${where ? `${where}: ` : ''}${issue?.message ?? 'malformed'}`);
}
