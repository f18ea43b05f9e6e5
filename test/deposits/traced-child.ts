/**
 * One deposit at `a` of a pair in this process, to be run under strace. Prints a JSON line: what
 * became of it. Before anything else happens after publish, a line is flushed to `row`: the stand-in
 * for the WAL.
 */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '../../src/core/errors.ts';
import { openPair, rowOf, sample, visible } from './fixture.ts';

const pair = await openPair({ degradeAfterMs: 10_000 }, process.argv[2]);
const { a, b } = pair;
let code = 'ok';
let atPeer = false;
let placed = '';
try {
  const upload = await a.bytes.begin({});
  await upload.write(sample(4096));
  const row = rowOf(await upload.finish());
  placed = row.path;
  atPeer = (await upload.publish(row)).atPeer;
  const wal = await open(path.join(pair.directory, 'row'), 'w');
  await wal.write('row\n');
  await wal.sync();
  await wal.close();
  upload.committed();
} catch (error) {
  code = error instanceof AppError ? error.code : String(error);
}
const report = {
  code,
  atPeer,
  placed,
  directory: pair.directory,
  a: await visible(a.root),
  b: await visible(b.root),
  doubts: { a: a.store.doubts, b: b.store.doubts },
};
await pair.close();
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
