import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  checkFileName,
  depositPath,
  diskName,
  isPathOf,
  parseDepositPath,
} from './deposit-path.ts';
import type { AccountName, DepositId, FileId } from './ids.ts';

const collection = 'papers' as AccountName;
const depositId = '0192f5a0-0000-7000-8000-0000000000ab' as DepositId;
const fileId = '5b9c3f6e-0f6e-5d5b-8e2a-1d2f3a4b5c6d' as FileId;

describe('checkFileName', () => {
  test.each(['a/b', 'a\\b', 'a\0', '..', 'a..b', '', 'x'.repeat(1025), 'é'.repeat(513), 'a\ud800'])(
    'refuses %j',
    (name) => expect(checkFileName(name)).toBe('bad-name'),
  );
  test.each([
    'a',
    '.',
    'paper.pdf',
    ' ',
    'x'.repeat(1024),
    'naïve 论文 🙂.pdf',
    'a\nb',
    '%2F',
    '-rf',
  ])('lets %j pass', (name) => expect(checkFileName(name)).toBeNull());
});

describe('diskName', () => {
  test.each([
    ['paper.pdf', 'paper.pdf'],
    ['.', '%2E'],
    ['.twinsite', '%2Etwinsite'],
    ['a.b', 'a.b'],
    ['100%', '100%25'],
    ['a\nb\u007f\u0085', 'a%0Ab%7F%C2%85'],
    ['论文.pdf', '论文.pdf'],
    [`${'x'.repeat(300)}.tar.gz`, `${'x'.repeat(197)}.gz`],
    ['é'.repeat(150), 'é'.repeat(100)],
    [`.${'y'.repeat(300)}`, `%2E${'y'.repeat(197)}`],
    [`a.${'z'.repeat(300)}`, `a.${'z'.repeat(198)}`],
    ['\n'.repeat(100), '%0A'.repeat(66)],
  ])('%j is %j on disk', (name, disk) => expect(diskName(name)).toBe(disk));

  test('is a safe single component for every allowed name', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 400 }), (name) => {
        fc.pre(checkFileName(name) === null);
        const disk = diskName(name);
        expect(Buffer.byteLength(disk)).toBeLessThanOrEqual(200);
        expect(disk).not.toMatch(/[/\0\n]|^\.|%($|[^0-9A-F]|.$|.[^0-9A-F])/);
        expect(disk.length).toBeGreaterThan(0);
        const path = depositPath(collection, depositId, fileId, name);
        expect(isPathOf({ id: fileId, depositId, name, path })).toBe(true);
      }),
    );
  });

  test('tells short names apart', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), fc.string({ maxLength: 40 }), (a, b) => {
        if (a !== b && checkFileName(a) === null && checkFileName(b) === null)
          expect(diskName(a)).not.toBe(diskName(b));
      }),
    );
  });
});

test('the path follows from ids and name', () => {
  const path = depositPath(collection, depositId, fileId, 'paper.pdf');
  expect(path).toBe(`deposits/papers/ab/${depositId}/${fileId}/paper.pdf`);
  expect(parseDepositPath(path)).toEqual({ collection, depositId, fileId, diskName: 'paper.pdf' });
});

test.each([
  `deposits/papers/ab/${depositId}/${fileId}/..`,
  `deposits/papers/ab/${depositId}/${fileId}/.hidden`,
  `deposits/papers/ab/${depositId}/${fileId}/a/b`,
  `deposits/papers/ab/${depositId}/${fileId}/`,
  `deposits/papers/ab/${depositId}/${fileId}`,
  `deposits/../ab/${depositId}/${fileId}/x`,
  `deposits/papers/aa/${depositId}/${fileId}/x`,
  `deposits/papers/ab/${depositId.toUpperCase()}/${fileId}/x`,
  `/deposits/papers/ab/${depositId}/${fileId}/x`,
  `deposits//ab/${depositId}/${fileId}/x`,
  `.twinsite/papers/ab/${depositId}/${fileId}/x`,
  `deposits/papers/ab/${depositId}/${fileId}/${'x'.repeat(201)}`,
  '',
  '../../etc/passwd',
])('no deposit path: %s', (path) => {
  expect(parseDepositPath(path)).toBeNull();
  expect(isPathOf({ id: fileId, depositId, name: 'x', path })).toBe(false);
});

test('a path with another name or other ids than the row says is refused', () => {
  const path = depositPath(collection, depositId, fileId, 'paper.pdf');
  expect(isPathOf({ id: fileId, depositId, name: 'other.pdf', path })).toBe(false);
  const other = '5b9c3f6e-0f6e-5d5b-8e2a-1d2f3a4b5c6e' as FileId;
  expect(isPathOf({ id: other, depositId, name: 'paper.pdf', path })).toBe(false);
});
