import { describe, expect, test } from 'bun:test';
import { lsnDistance, parseLsn } from './lsn.ts';

describe('parseLsn', () => {
  test.each([
    ['0/0', 0n],
    ['0/16B3748', 0x16b3748n],
    ['16/B374D848', 0x16b374d848n],
    ['FFFFFFFF/FFFFFFFF', 0xffffffffffffffffn],
  ])('%s', (text, bytes) => {
    expect(parseLsn(text)).toBe(bytes);
  });
  test.each(['', '0', '0/', '/0', '0/123456789', 'g/0', '0/0 '])('refuses %p', (text) => {
    expect(parseLsn(text)).toBeNull();
  });
});

test.each([
  ['0/10', '0/20', 16],
  ['0/20', '0/10', 0],
  ['0/FFFFFFFF', '1/0', 1],
  [null, '0/10', 0],
  ['0/10', null, 0],
])('lsnDistance(%p, %p) is %d', (from, to, bytes) => {
  expect(lsnDistance(from, to)).toBe(bytes);
});
