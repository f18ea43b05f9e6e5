import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { bumpVector, compareVectors, dominates, isZero, joinVectors } from './version-vector.ts';

const vector = fc.dictionary(fc.constantFrom('a/1', 'b/1', 'a/2'), fc.integer({ min: 0, max: 4 }));

test.each([
  [{}, {}, 'equal'],
  [{ a: 0 }, {}, 'equal'],
  [{ a: 1 }, {}, 'after'],
  [{}, { a: 1 }, 'before'],
  [{ a: 1 }, { b: 1 }, 'concurrent'],
  [{ a: 2, b: 1 }, { a: 1, b: 1 }, 'after'],
] as const)('%j is to %j: %s', (a, b, order) => {
  expect(compareVectors(a, b)).toBe(order);
});

test('a join is the least that dominates both, in either order', () => {
  fc.assert(
    fc.property(vector, vector, (a, b) => {
      const joined = joinVectors(a, b);
      expect(dominates(joined, a) && dominates(joined, b)).toBe(true);
      expect(compareVectors(joined, joinVectors(b, a))).toBe('equal');
      if (dominates(a, b)) expect(compareVectors(joined, a)).toBe('equal');
    }),
  );
});

test('a bump is after what it stands on, and never zero', () => {
  fc.assert(
    fc.property(vector, (base) => {
      const bumped = bumpVector(base, 'a/1', 5);
      expect(compareVectors(bumped, base)).toBe('after');
      expect(isZero(bumped)).toBe(false);
    }),
  );
});
