import { expect, test } from 'bun:test';
import { AppError } from '../../../core/errors.ts';
import { databaseError } from './database-error.ts';

const coded = (code: string) => Object.assign(new Error('x'), { code });

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
  expect(databaseError(coded(code), 'a query').code as string).toBe(expected);
});

test('an AppError stays as it is', () => {
  const error = new AppError('not-found', 'x');
  expect(databaseError(error, 'a query')).toBe(error);
});
