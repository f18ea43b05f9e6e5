import { describe, expect, test } from 'bun:test';
import { createIgnoreRules } from './ignore.ts';
import type { TreePath } from './tree-path.ts';

describe('ignore rules', () => {
  const rules = createIgnoreRules(['*.tmp', '/build', 'cache/**', 'a?c/', '**/x/y', 'a.b']);
  test.each([
    ['.twinsite', true],
    ['deposits/c/1', true],
    ['lost+found', true],
    ['.snapshot/x', true],
    ['deep/.nfs0001', true],
    ['sub/lost+found', false],
    ['sub/deposits', false],
    ['f.tmp', true],
    ['d/e/f.tmp', true],
    ['f.tmp2', false],
    ['build', true],
    ['build/out', true],
    ['src/build', false],
    ['cache/1/2', true],
    ['cache', false],
    ['abc', true],
    ['x/abc/inside', true],
    ['abbc', false],
    ['q/x/y', true],
    ['x/y', true],
    ['aXb', false],
  ] as const)('%s: %p', (path, covered) => {
    expect(rules.covers(path as TreePath)).toBe(covered);
  });

  test('equal rules have equal text, whatever their order', () => {
    expect(createIgnoreRules(['b', 'a/', 'a']).canonical).toBe(
      createIgnoreRules(['a', 'b']).canonical,
    );
    expect(createIgnoreRules(['a']).canonical).not.toBe(createIgnoreRules([]).canonical);
  });
});
