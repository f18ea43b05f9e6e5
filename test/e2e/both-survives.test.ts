/**
 * P1 and P3 as bluntly as they can be asked: in the instant the 201 arrives, the site that sent it is
 * killed and everything it had is moved away. The other, alone, must give the row and the bytes.
 */
import { describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { sha256 } from '../support/independent.ts';
import { Pair, QUICK, randomBody } from '../support/pair.ts';
import type { SiteProcess } from '../support/site-process.ts';

const ROUNDS = Number(process.env['TWINSITE_ROUNDS'] ?? '5');

async function destroyAfterReceipt(pair: Pair, site: SiteProcess, round: number): Promise<void> {
  const body = randomBody(1 + ((round * 7919) % 60_000));
  const { status, receipt } = await pair.deposit(site, body);
  await site.kill9();
  const moved: [string, string][] = [];
  for (const directory of [site.data, site.options.store]) {
    const away = `${directory}.away`;
    await fs.rename(directory, away);
    moved.push([away, directory]);
  }
  expect(status).toBe(201);
  expect(receipt.durability).toBe('both');
  const survivor = pair.other(site);
  const seen = await pair.receipt(survivor, receipt.id);
  expect(seen.httpStatus).toBe(200);
  expect(seen.durability).toBe('both');
  const file = await pair.bytes(survivor, receipt);
  expect(file.status).toBe(200);
  expect(sha256(file.body)).toBe(sha256(body));
  expect(sha256(await fs.readFile(path.join(survivor.options.store, receipt.files[0].path)))).toBe(
    sha256(body),
  );
  for (const [away, directory] of moved) {
    await fs.rm(directory, { recursive: true, force: true });
    await fs.rename(away, directory);
  }
  await site.start();
  await pair.paired();
}

describe('a receipt that says both outlives the site that gave it', () => {
  for (const name of ['a', 'b'] as const) {
    test(
      `${ROUNDS} times in a row from ${name}`,
      async () => {
        await using pair = await Pair.start({ topology: name === 'a' ? 't1' : 't2', flags: QUICK });
        for (let round = 0; round < ROUNDS; round += 1)
          await destroyAfterReceipt(pair, pair[name], round);
        console.log(`kills: ${ROUNDS} of site ${name}`);
      },
      60_000 + ROUNDS * 20_000,
    );
  }
});
