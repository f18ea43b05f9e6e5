import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { depositPath } from '../../../core/deposit-path.ts';
import { AppError } from '../../../core/errors.ts';
import type { AccountName, DepositId, FileId } from '../../../core/ids.ts';
import { silentLog } from '../../../platform/log.ts';
import type { PlacedFile } from './context.ts';
import { openIntakeJournal } from './intake-journal.ts';

let data: string;
beforeEach(() => {
  data = mkdtempSync(path.join(os.tmpdir(), 'twinsite-journal-'));
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

const file = (n: number): PlacedFile => {
  const tail = n.toString(16).padStart(12, '0');
  const depositId = `0192f5a0-0000-7000-8000-${tail}` as DepositId;
  const id = `5b9c3f6e-0f6e-5d5b-8e2a-${tail}` as FileId;
  const name = 'a "quoted"\n name';
  const place = depositPath('papers' as AccountName, depositId, id, name);
  return { id, depositId, name, path: place, sizeBytes: n, sha256: 'ab'.repeat(32) };
};
const open = () => openIntakeJournal(data, () => 7, silentLog);
const lines = () =>
  readFileSync(path.join(data, 'intake.journal'), 'utf8')
    .split('\n')
    .filter((line) => line !== '');

test('what was published and neither claimed nor resolved is open after a restart', () => {
  const first = open();
  for (const n of [1, 2, 3]) first.published(file(n), n === 2 ? 'peer' : 'origin');
  first.claimed(file(1).path);
  first.resolved(file(3).path);
  first.claimed(file(9).path);
  first.close();
  const second = open();
  expect([...second.open().values()]).toEqual([{ role: 'peer', file: file(2), sinceMs: 7 }]);
  expect(lines().length).toBe(1);
  second.close();
});

test('a torn last line and foreign lines are passed over', () => {
  const first = open();
  first.published(file(1), 'origin');
  first.close();
  const journal = path.join(data, 'intake.journal');
  writeFileSync(journal, `${readFileSync(journal, 'utf8')}{"did":"publish","role":"ori`);
  const second = open();
  expect([...second.open().keys()]).toEqual([file(1).path]);
  second.close();
});

test('it stays bounded while deposits come and go', () => {
  const journal = open();
  journal.published(file(1), 'origin');
  for (let n = 2; n < 15_000; n += 1) {
    journal.published(file(n), 'origin');
    journal.claimed(file(n).path);
  }
  expect(lines().length).toBeLessThan(20_010);
  journal.close();
  expect([...open().open().keys()]).toEqual([file(1).path]);
});

test('a data directory that cannot be written is said at once', () => {
  data = path.join(data, 'missing');
  expect(open).toThrow(AppError);
});
