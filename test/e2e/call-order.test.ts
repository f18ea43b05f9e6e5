/**
 * The order of system calls during one deposit, at both sites: fsync of the file → rename → fsync of
 * the directory → the flush of the WAL that holds the row → only then the 201.
 */
import { expect, test } from 'bun:test';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { query } from '../support/independent.ts';
import { Pair, randomBody } from '../support/pair.ts';
import type { SiteProcess } from '../support/site-process.ts';
import { type Call, processTree, Trace } from '../support/strace.ts';

function firstAfter(
  calls: readonly Call[],
  after: number,
  what: string,
  test: (call: Call) => boolean,
): Call {
  const found = calls.find((call) => call.at >= after && test(call));
  if (!found) throw new Error(`no ${what} after ${after}`);
  return found;
}

function order(
  site: SiteProcess,
  calls: readonly Call[],
  receipt: { id: string; files: { path: string }[] },
) {
  const fileName = path.basename(receipt.files[0]?.path ?? '');
  const finalDirectory = path.basename(path.dirname(receipt.files[0]?.path ?? ''));
  const rename = firstAfter(
    calls,
    0,
    'rename into place',
    (call) =>
      call.name.startsWith('rename') &&
      call.text.includes(`${finalDirectory}/${fileName}`) &&
      call.text.includes('= 0'),
  );
  const source = /"([^"]+\.twinsite\/tmp\/[^"]+)"/.exec(rename.text)?.[1] ?? '';
  const temp = path.basename(source);
  const fileSync = calls.filter(
    (call) =>
      /^f(data)?sync/.test(call.text) && call.text.includes(temp) && call.text.includes('= 0'),
  );
  expect(fileSync.length).toBeGreaterThan(0);
  const synced = fileSync.at(-1) as Call;
  expect(synced.at).toBeLessThan(rename.at);
  const directorySync = firstAfter(
    calls,
    rename.at,
    'fsync of the directory',
    (call) =>
      /^fsync/.test(call.text) &&
      call.text.includes(`${finalDirectory}>`) &&
      call.text.includes('= 0'),
  );
  const walFlush = firstAfter(
    calls,
    directorySync.at,
    'flush of the WAL',
    (call) =>
      /^f(data)?sync/.test(call.text) &&
      call.text.includes('/pg_wal/') &&
      call.text.includes('= 0'),
  );
  return {
    site: site.options.name,
    file: synced.at,
    rename: rename.at,
    directory: directorySync.at,
    wal: walFlush.at,
  };
}

test('fsync, rename, fsync of the directory, WAL flush at both sites, and only then the 201', async () => {
  await using pair = await Pair.start({ topology: 't2' });
  for (const site of [pair.a, pair.b]) {
    const fsType = execFileSync('stat', ['-f', '-c', '%T', site.options.store]).toString().trim();
    expect(fsType).not.toBe('tmpfs');
    for (const setting of ['fsync', 'full_page_writes']) {
      expect(await query(site, `SHOW ${setting}`)).toEqual([{ [setting]: 'on' }]);
    }
    const [commit] = await query(site, 'SHOW synchronous_commit');
    expect(commit?.['synchronous_commit']).toBe('on');
  }
  await pair.deposit(pair.a, randomBody(100));
  const traces = await Promise.all(
    [pair.a, pair.b].map((site) =>
      Trace.attach(processTree(site.pid), path.join(pair.root, `trace-${site.options.name}`)),
    ),
  );
  const { status, receipt } = await pair.deposit(pair.a, randomBody(20_000));
  const calls = await Promise.all(traces.map((trace) => trace.end()));
  expect(status).toBe(201);
  expect(receipt.durability).toBe('both');
  const answered = firstAfter(calls[0] ?? [], 0, '201', (call) =>
    call.text.includes('HTTP/1.1 201'),
  );
  for (const [index, site] of [pair.a, pair.b].entries()) {
    const steps = order(site, calls[index] ?? [], receipt);
    console.log(
      `${site.options.name}: fsync ${ms(steps.file, answered)}, rename ${ms(steps.rename, answered)}, fsync dir ${ms(steps.directory, answered)}, WAL ${ms(steps.wal, answered)} before the 201`,
    );
    expect(steps.file).toBeLessThan(steps.rename);
    expect(steps.rename).toBeLessThan(steps.directory);
    expect(steps.directory).toBeLessThan(steps.wal);
    expect(steps.wal).toBeLessThan(answered.at);
  }
}, 90_000);

function ms(at: number, answered: Call): string {
  return `${((answered.at - at) * 1000).toFixed(1)} ms`;
}
