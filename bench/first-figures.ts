/**
 * The figures that a newcomer asks for first, measured on the compiled binary: start times, memory,
 * receipt latency, the gap when the other site is killed, the time to the flip.
 * `make figures` or: bun bench/first-figures.ts
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { Pair, randomBody } from '../test/support/pair.ts';
import { BINARY, until } from '../test/support/site-process.ts';
import { processTree } from '../test/support/strace.ts';

function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((x, y) => x - y);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN;
}

function pssMiB(root: number, without: number | undefined): number {
  const skip = new Set(without ? processTree(without) : []);
  let kib = 0;
  for (const pid of processTree(root)) {
    if (skip.has(pid)) continue;
    try {
      kib += Number(
        /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0,
      );
    } catch {
      // ended meanwhile
    }
  }
  return kib / 1024;
}

async function latency(pair: Pair, clients: number, seconds: number): Promise<void> {
  const times: number[] = [];
  let both = 0;
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < end) {
        const answer = await pair.deposit(pair.a, randomBody(4096));
        times.push(answer.ms);
        if (answer.receipt.durability === 'both') both += 1;
      }
    }),
  );
  console.log(
    `receipts, 4 KiB, ${clients} client(s): p50 ${percentile(times, 50).toFixed(1)} ms, p99 ${percentile(times, 99).toFixed(1)} ms, ` +
      `${(times.length / seconds).toFixed(0)}/s, ${both} of ${times.length} both`,
  );
}

async function killTheOther(pair: Pair): Promise<void> {
  const link = pair.b.options.filestore;
  const before = readlinkSync(link);
  const accepted: number[] = [];
  let stop = false;
  const clients = Array.from({ length: 4 }, async () => {
    while (!stop) {
      const answer = await pair.deposit(pair.b, randomBody(4096)).catch(() => null);
      if (answer?.status === 201) accepted.push(performance.now());
    }
  });
  await Bun.sleep(2000);
  const killed = performance.now();
  await pair.a.kill9();
  await until('the link to flip', () => readlinkSync(link) !== before, 20_000, 10);
  const flipped = performance.now() - killed;
  stop = true;
  await Promise.all(clients);
  let gap = 0;
  for (let n = 1; n < accepted.length; n += 1)
    gap = Math.max(gap, (accepted[n] ?? 0) - (accepted[n - 1] ?? 0));
  console.log(
    `site a killed: longest gap between accepted deposits at b ${gap.toFixed(0)} ms; link at b flipped after ${flipped.toFixed(0)} ms`,
  );
}

console.log(`binary ${(statSync(BINARY).size / 2 ** 20).toFixed(1)} MiB`);
const pair = await Pair.make({ topology: 't1' });
let begun = performance.now();
await Promise.all([pair.a.start(), pair.b.start()]);
await Promise.all([pair.a.ready(), pair.b.ready()]);
console.log(`first start of both to ready ${(performance.now() - begun).toFixed(0)} ms`);
await pair.paired();
await pair.a.admin('collection', 'add', 'papers');
pair.token = (await pair.a.admin('depositor', 'add', 'alice', '--collection', 'papers')).token;
await pair.accountKnown(pair.b);
await Bun.sleep(5000);
console.log(
  `idle memory (PSS without PostgreSQL): a ${pssMiB(pair.a.pid, pair.a.postmaster()?.pid).toFixed(0)} MiB, b ${pssMiB(pair.b.pid, pair.b.postmaster()?.pid).toFixed(0)} MiB`,
);
await latency(pair, 1, 5);
await latency(pair, 8, 10);
await killTheOther(pair);
begun = performance.now();
await pair.a.startReady();
console.log(`warm start to ready ${(performance.now() - begun).toFixed(0)} ms`);
await pair[Symbol.asyncDispose]();
