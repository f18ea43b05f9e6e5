/** The link is cut for 20 s while both sites take deposits, one of them the same request at both. */
import { describe, expect, test } from 'bun:test';
import { rowsOf, treeDifference, treeOf } from '../support/independent.ts';
import { Pair, QUICK, randomBody } from '../support/pair.ts';
import { type Json, until } from '../support/site-process.ts';

/** The whole 20 s in one topology; the other is cut for long enough to be alone. */
const CUT_MS = { t1: 20_000, t2: Number(process.env['TWINSITE_CUT_MS'] ?? '7000') };

for (const topology of ['t1', 't2'] as const) {
  describe(`a cut link in ${topology}`, () => {
    test(
      'both go on, and all is merged after',
      async () => {
        await using pair = await Pair.start({ topology, proxied: true, flags: QUICK });
        pair.cut();
        const cutAt = performance.now();
        const taken: Json[] = [];
        let slowest = 0;
        while (performance.now() - cutAt < CUT_MS[topology]) {
          for (const site of [pair.a, pair.b]) {
            const { status, receipt, ms } = await pair.deposit(site, randomBody(3000), {
              'idempotency-key': `cut-${taken.length}`,
            });
            expect(status).toBe(201);
            expect(receipt.durability).toBe('local');
            slowest = Math.max(slowest, ms);
            taken.push(receipt);
          }
          await Bun.sleep(250);
        }
        const twin = randomBody(5000);
        const key = { 'idempotency-key': 'the-same-at-both' };
        const atA = await pair.deposit(pair.a, twin, key);
        const atB = await pair.deposit(pair.b, twin, key);
        expect([atA.status, atB.status]).toEqual([201, 201]);
        expect(atA.receipt.id).toBe(atB.receipt.id);
        expect([atA.receipt.durability, atB.receipt.durability]).toEqual(['local', 'local']);
        taken.push(atA.receipt);

        pair.heal();
        const healedAt = performance.now();
        await pair.paired();
        for (const receipt of taken) {
          for (const site of [pair.a, pair.b]) {
            await until(
              `${receipt.id} both at ${site.options.name}`,
              async () => {
                const seen = await pair.receipt(site, receipt.id);
                return seen.httpStatus === 200 && seen.durability === 'both';
              },
              30_000,
            );
          }
        }
        await until('equal rows', async () => (await rowsOf(pair.a)) === (await rowsOf(pair.b)));
        await until(
          'equal trees',
          async () =>
            treeDifference(await treeOf(pair.a.options.store), await treeOf(pair.b.options.store))
              .length === 0,
        );
        const [inA, inB] = await Promise.all(
          [pair.a, pair.b].map((site) => pair.receipt(site, atA.receipt.id)),
        );
        expect(inA).toEqual(inB);
        console.log(
          `${topology}: ${taken.length} deposits while cut, slowest ${Math.round(slowest)} ms; merged ${Math.round(performance.now() - healedAt)} ms after the heal`,
        );
      },
      CUT_MS[topology] + 120_000,
    );
  });
}
