import { describe, expect, test } from 'bun:test';
import { readdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { epochOf, QUICK, stateOf, TwoSites, until } from './two-sites.ts';

describe('D4, D7: killed in the middle of a take over', () => {
  for (const [point, linkAfterCrash] of [
    ['take-over:persisted', 'a'],
    ['link:temp-made', 'a'],
    ['link:renamed', 'b'],
  ] as const) {
    test(`at ${point}: the next start puts the link where the epoch says, first thing`, async () => {
      await using pair = new TwoSites('t1');
      const { a, b } = await pair.startBoth();
      await until('b at a', () => pair.target('b') === 'a');
      await a.stop();
      await b.stop();
      const child = Bun.spawn(
        [process.execPath, path.join(import.meta.dir, 'crash-child.ts'), pair.base, 'b', point],
        { stdout: 'inherit', stderr: 'inherit' },
      );
      await child.exited;
      expect(child.signalCode).toBe('SIGKILL');
      expect(pair.target('b')).toBe(linkAfterCrash);
      const again = await pair.start('b');
      await again.failover.prepare();
      expect(epochOf(again)).toBe('2.b');
      expect(pair.target('b')).toBe('b');
      expect(readdirSync(path.join(pair.base, 'home_b'))).toEqual(['filestore']);
    }, 20_000);
  }

  test('a store that takes no epoch: nothing is announced or flipped, and it is tried again', async () => {
    await using pair = new TwoSites('t1');
    let moved = false;
    const a = await pair.start('a');
    const b = await pair.start('b');
    await pair.paired(a, b);
    await until('b at a', () => pair.target('b') === 'a');
    await a.stop();
    await until('a is away', () => stateOf(b) === 'alone');
    renameSync(pair.san('b'), `${pair.san('b')}.gone`);
    await until('b failed', () => stateOf(b) === 'failed');
    await Bun.sleep(QUICK.lostAfterMs + 200);
    expect(epochOf(b)).toBe('1.a');
    expect(pair.target('b')).toBe('a');
    renameSync(`${pair.san('b')}.gone`, pair.san('b'));
    moved = true;
    await until('b takes over', () => pair.target('b') === 'b' && moved);
    expect(epochOf(b)).toBe('2.b');
  });
});

describe('our own pause', () => {
  test('is no loss of the peer: nobody takes over, and both are soon sure again', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    // Both sites of this test pause at once; the law is for each of them.
    Bun.sleepSync(1_000 + QUICK.lostAfterMs * 3);
    await until('sure again', () => {
      const sure = [a, b].every((site) => site.failover.view().verdict === 'alive');
      return sure && b.logged.some(({ event }) => event === 'failover.was-paused');
    });
    expect([epochOf(a), epochOf(b)]).toEqual(['1.a', '1.a']);
    expect(b.transitions).toEqual(['starting>joining', 'joining>paired']);
  });

  test('a peer that died during it is found lost after one whole window', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    await a.stop();
    Bun.sleepSync(1_000 + QUICK.lostAfterMs);
    expect(epochOf(b)).toBe('1.a');
    const tookMs = await until('b takes over', () => epochOf(b) === '2.b');
    expect(tookMs).toBeGreaterThan(QUICK.lostAfterMs - 100);
    expect(tookMs).toBeLessThan(QUICK.lostAfterMs + 1_000);
  });
});
