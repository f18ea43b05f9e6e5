/** 1 GiB through the server to both stores, without holding it in memory. */
import { expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { sha256File } from '../support/independent.ts';
import { Pair, randomBody } from '../support/pair.ts';
import type { SiteProcess } from '../support/site-process.ts';

const GIB = 2 ** 30;

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        return (
          Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${candidate}/status`, 'utf8'))?.[1]) ===
          pid
        );
      } catch {
        return false;
      }
    });
}

/** Proportional set size of the site's own processes, without PostgreSQL's. */
function pssBytes(site: SiteProcess): number {
  let total = 0;
  const postgres = site.postmaster()?.pid;
  for (const pid of [site.pid, ...childrenOf(site.pid)]) {
    if (pid === postgres) continue;
    try {
      total +=
        Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) *
        1024;
    } catch {
      // ended meanwhile
    }
  }
  return total;
}

test('1 GiB, durable at both, memory grows by at most 64 MiB', async () => {
  await using pair = await Pair.start({ topology: 't2' });
  // Warm both up first: the question is growth by size, not the first use of code.
  for (let n = 0; n < 3; n += 1) await pair.deposit(pair.a, randomBody(8 * 2 ** 20));
  const before = [pair.a, pair.b].map(pssBytes);
  const peak = [...before];
  const timer = setInterval(() => {
    [pair.a, pair.b].forEach((site, index) => {
      peak[index] = Math.max(peak[index] ?? 0, pssBytes(site));
    });
  }, 100);
  const block = Buffer.from(randomBody(2 ** 20));
  const hash = createHash('sha256');
  const begun = performance.now();
  const body = await new Promise<string>((resolve, reject) => {
    const request = http.request(
      `${pair.a.url}/collections/papers/deposits`,
      {
        method: 'POST',
        headers: pair.headers({
          'content-length': String(GIB),
          'content-type': 'application/octet-stream',
          'content-disposition': 'attachment; filename="large.bin"',
        }),
      },
      (response) => {
        let text = '';
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () =>
          response.statusCode === 201
            ? resolve(text)
            : reject(new Error(`${response.statusCode} ${text}`)),
        );
      },
    );
    request.on('error', reject);
    let sent = 0;
    const pump = (): void => {
      while (sent < GIB) {
        block.writeUInt32LE(sent >>> 10, 0);
        hash.update(block);
        sent += block.length;
        if (!request.write(Buffer.from(block))) {
          request.once('drain', pump);
          return;
        }
      }
      request.end();
    };
    pump();
  });
  const seconds = (performance.now() - begun) / 1000;
  clearInterval(timer);
  const receipt = JSON.parse(body);
  expect(receipt.durability).toBe('both');
  expect(receipt.files[0].sizeBytes).toBe(GIB);
  const expected = hash.digest('hex');
  expect(receipt.files[0].sha256).toBe(expected);
  for (const site of [pair.a, pair.b]) {
    expect(await sha256File(path.join(site.options.store, receipt.files[0].path))).toBe(expected);
  }
  const growth = peak.map((value, index) => (value - (before[index] ?? 0)) / 2 ** 20);
  const mib = (bytes: number | undefined) => ((bytes ?? 0) / 2 ** 20).toFixed(0);
  console.log(
    `1 GiB in ${seconds.toFixed(1)} s; PSS of a ${mib(before[0])} → at most ${mib(peak[0])} MiB, of b ${mib(before[1])} → ${mib(peak[1])} MiB`,
  );
  expect(Math.max(...growth)).toBeLessThanOrEqual(64);
}, 240_000);
