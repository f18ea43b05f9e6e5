import { expect, test } from 'bun:test';
import { editDistance, nearestName } from './nearest-name.ts';

test('edits are counted, a swap of neighbours as one', () => {
  for (const [a, b, distance] of [
    ['', '', 0],
    ['store', 'store', 0],
    ['stroe', 'store', 1],
    ['store', 'stores', 1],
    ['peer', 'pier', 1],
    ['abc', '', 3],
    ['kitten', 'sitting', 3],
  ] as const) {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  }
});

test('a near name is suggested, a far one is not', () => {
  const known = ['store', 'filestore', 'peer-store', 'listen', 'peer'];
  expect(nearestName('stroe', known)).toBe('store');
  expect(nearestName('peerstore', known)).toBe('peer-store');
  expect(nearestName('lisen', known)).toBe('listen');
  expect(nearestName('colour', known)).toBeNull();
  expect(nearestName('x', known)).toBeNull();
});
