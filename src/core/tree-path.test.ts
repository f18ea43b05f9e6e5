import { describe, expect, test } from 'bun:test';
import {
  bytesFromLatin1,
  checkTreePath,
  depthOf,
  displayPath,
  isBelow,
  joinPath,
  latin1FromBytes,
  nameOf,
  parentOf,
  ROOT,
  type TreePath,
} from './tree-path.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

describe('checkTreePath', () => {
  test.each([
    'a',
    'a/b/c',
    '...',
    '.hidden',
    'deposits2',
    'x/deposits',
    'x/.twinsite',
    ' ',
    'n'.repeat(255),
    'é/ü',
  ])('takes %p', (text) => {
    expect(checkTreePath(bytes(text))).toBe(latin1FromBytes(bytes(text)) as TreePath);
  });

  test.each([
    '',
    '/',
    '/etc/passwd',
    'a/',
    'a//b',
    '.',
    '..',
    '../x',
    'a/../../x',
    'a/./b',
    'a\u0000b',
    '.twinsite',
    '.twinsite/store.json',
    'deposits',
    'deposits/x',
    'n'.repeat(256),
    'a/'.repeat(9_000),
  ])('refuses %p', (text) => {
    expect(checkTreePath(bytes(text))).toBe(null);
  });

  test('keeps bytes that are no UTF-8', () => {
    const odd = new Uint8Array([0x61, 0xff, 0xfe, 0x2f, 0x80]);
    const path = checkTreePath(odd);
    expect(bytesFromLatin1(path ?? '')).toEqual(odd);
    expect(displayPath(path ?? '')).toBe('a\uFFFD\uFFFD/\uFFFD');
  });
});

test('parents, names and depths', () => {
  const path = 'a/b/c' as TreePath;
  expect([parentOf(path), nameOf(path), depthOf(path)]).toEqual(['a/b' as TreePath, 'c', 3]);
  expect([parentOf('a' as TreePath), joinPath(ROOT, 'a'), depthOf(ROOT)]).toEqual([
    ROOT,
    'a' as TreePath,
    0,
  ]);
  expect(isBelow(path, 'a/b' as TreePath)).toBe(true);
  expect(isBelow('a/bc' as TreePath, 'a/b' as TreePath)).toBe(false);
  expect(isBelow(path, path)).toBe(false);
});
