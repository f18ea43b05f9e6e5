import { describe, expect, test } from 'bun:test';
import { AppError, describeError } from '../../core/errors.ts';
import { toDatabaseError } from './connections.ts';

const coded = (code: string) => Object.assign(new Error('x'), { code });

describe('errors of the database', () => {
  test.each([
    ['CONNECTION_CLOSED', 'database-down'],
    ['ENOENT', 'database-down'],
    ['57P01', 'database-down'],
    ['57P03', 'database-down'],
    ['08006', 'database-down'],
    ['53300', 'database-down'],
    ['53100', 'storage'],
    ['57014', 'database-down'],
    ['42501', 'internal'],
    ['23505', 'internal'],
  ])('%s is %s', (code, expected) => {
    expect(toDatabaseError(coded(code)).code as string).toBe(expected);
  });

  test("drizzle's wrapper, which lists parameters, is left out", () => {
    const wrapped = new Error('Failed query: … params: secret-hash', { cause: coded('57P01') });
    const error = toDatabaseError(wrapped);
    expect(error.code).toBe('database-down');
    expect(describeError(error)).not.toContain('secret-hash');
  });

  test('an AppError stays as it is', () => {
    const error = new AppError('not-found', 'x');
    expect(toDatabaseError(error)).toBe(error);
  });

  test('what is no error at all becomes one', () => {
    expect(toDatabaseError('boom').code).toBe('internal');
  });
});
