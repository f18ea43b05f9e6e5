import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { selectRange } from './byte-range.ts';

test('whatever is asked, a part lies within the file', () => {
  const edge = fc.oneof(fc.constant(''), fc.nat(30).map(String), fc.constant('9'.repeat(30)));
  fc.assert(
    fc.property(edge, edge, fc.nat(20), (first, last, size) => {
      const answer = selectRange(`bytes=${first}-${last}`, size);
      if (answer.kind !== 'part') return;
      expect(answer.start).toBeGreaterThanOrEqual(0);
      expect(answer.start).toBeLessThanOrEqual(answer.end);
      expect(answer.end).toBeLessThan(size);
    }),
  );
  fc.assert(
    fc.property(fc.string(), fc.nat(20), (header, size) => {
      expect(['whole', 'part', 'unsatisfiable']).toContain(selectRange(header, size).kind);
    }),
  );
});
