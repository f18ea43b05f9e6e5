import { expect, test } from 'bun:test';
import { conflictCopyPath, trashPath } from './copy-name.ts';
import { nameOf, type TreePath } from './tree-path.ts';

const HASH = 'abcdef0123456789'.repeat(4);

test('a conflict copy stands beside its path, named by site and content', () => {
  expect(conflictCopyPath('d/f.txt' as TreePath, 'b', HASH)).toBe(
    '.twinsite/conflicts/d/f.txt.b-abcdef012345' as TreePath,
  );
  expect(conflictCopyPath('f' as TreePath, 'b', HASH)).toBe(
    '.twinsite/conflicts/f.b-abcdef012345' as TreePath,
  );
});

test('names that would be too long are cut, and end alike for alike content', () => {
  const long = `d/${'n'.repeat(255)}` as TreePath;
  expect(nameOf(conflictCopyPath(long, 'edinburgh', HASH))).toHaveLength(255);
  expect(nameOf(trashPath(long, '2026-01-02', 'u1', HASH))).toHaveLength(255);
  expect(trashPath('d/f' as TreePath, '2026-01-02', 'u1', HASH)).toBe(
    '.twinsite/trash/2026-01-02/u1-abcdef012345-f' as TreePath,
  );
});
