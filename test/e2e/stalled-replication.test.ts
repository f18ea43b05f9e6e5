/** Heartbeats are green, but rows do not arrive: the receipt must not wait, and must not lie. */
import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { Pair, QUICK, randomBody } from '../support/pair.ts';
import { type SiteProcess, until } from '../support/site-process.ts';

/** The subscriber's apply workers, found in /proc by their title. */
function applyWorkers(site: SiteProcess): number[] {
  const postmaster = site.postmaster()?.pid;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const title = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
        return Number(parent) === postmaster && title.includes('logical replication apply worker');
      } catch {
        return false;
      }
    })
    .map(Number);
}

test('replication stalled while heartbeats are green: local within the deadline, both later', async () => {
  await using pair = await Pair.start({ topology: 't2', flags: QUICK });
  const workers = applyWorkers(pair.b);
  expect(workers.length).toBeGreaterThan(0);
  for (const pid of workers) process.kill(pid, 'SIGSTOP');
  let receipt: { id: string; durability: string };
  try {
    const answer = await pair.deposit(pair.a, randomBody(4096));
    expect(answer.status).toBe(201);
    expect(answer.receipt.durability).toBe('local');
    expect(answer.ms).toBeLessThan(1500 + 1000);
    expect((await pair.a.status()).peer.verdict).toBe('alive');
    receipt = answer.receipt;
  } finally {
    for (const pid of workers) {
      try {
        process.kill(pid, 'SIGCONT');
      } catch {
        // ended by its own timeout meanwhile, which is as good
      }
    }
  }
  for (const site of [pair.a, pair.b]) {
    await until(
      `raised at ${site.options.name}`,
      async () => (await pair.receipt(site, receipt.id)).durability === 'both',
    );
  }
}, 120_000);
