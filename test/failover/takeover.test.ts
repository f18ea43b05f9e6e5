import { describe, expect, test } from 'bun:test';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { epochOf, QUICK, rejection, stateOf, TwoSites, until } from './two-sites.ts';

describe('T1: both stores are mounted at both hosts', () => {
  test('the first site by name holds at first, and both links name its store', async () => {
    await using pair = new TwoSites('t1');
    const { a, b } = await pair.startBoth();
    expect([epochOf(a), epochOf(b)]).toEqual(['1.a', '1.a']);
    await until('both links at a', () => pair.target('a') === 'a' && pair.target('b') === 'a');
    expect(a.failover.view()).toMatchObject({ holder: 'a', mayBeStale: false, verdict: 'alive' });
    expect(a.failover.peerStatus()).toMatchObject({ verdict: 'alive' });
    expect(a.failover.peerStatus()?.rttMs).toBeLessThan(100);
    expect(b.failover.filestoreStatus()).toMatchObject({
      target: pair.san('a'),
      store: a.store.id,
    });
    expect(await a.metrics.text()).toContain('twinsite_site_state{state="paired"} 1');
  });

  test('the holder dies: the other flips within lost-after and half a second, and it yields on return', async () => {
    await using pair = new TwoSites('t1');
    const { a, b } = await pair.startBoth();
    await until('b at a', () => pair.target('b') === 'a');
    await a.stop();
    const tookMs = await until('b flips', () => pair.target('b') === 'b');
    expect(tookMs).toBeGreaterThan(QUICK.lostAfterMs - 100);
    expect(tookMs).toBeLessThan(QUICK.lostAfterMs + 500);
    expect(epochOf(b)).toBe('2.b');
    expect(stateOf(b)).toBe('alone');
    expect(JSON.parse(readFileSync(path.join(pair.data('b'), 'epoch.json'), 'utf8'))).toMatchObject(
      {
        number: 2,
        site: 'b',
      },
    );
    expect(
      JSON.parse(readFileSync(path.join(pair.san('b'), '.twinsite/epoch.json'), 'utf8')),
    ).toMatchObject({ number: 2, site: 'b' });
    const took = b.logged.find(({ event }) => event === 'failover.took-over');
    expect(took?.fields).toMatchObject({ epoch: '2.b', drained: true, rootsEqual: true });
    expect(pair.target('a')).toBe('a');

    const again = await pair.start('a');
    await pair.paired(again, b);
    expect([epochOf(again), epochOf(b)]).toEqual(['2.b', '2.b']);
    expect([pair.target('a'), pair.target('b')]).toEqual(['b', 'b']);
    expect(b.transitions).toEqual([
      'starting>joining',
      'joining>paired',
      'paired>alone',
      'alone>paired',
    ]);
  });

  test('D2: a store that was never equal is not flipped to while the other can be read', async () => {
    await using pair = new TwoSites('t1');
    const a = await pair.start('a');
    a.facts.fileRoot = 'all of it';
    const b = await pair.start('b');
    b.facts.fileRoot = 'a tenth';
    b.facts.filesDrained = false;
    await until('paired', () => stateOf(a) === 'paired' && stateOf(b) === 'paired');
    await until('b at a', () => pair.target('b') === 'a');
    await a.stop();
    await until('b says why', () => b.alarms.list().some((x) => x.code === 'take-over-held'));
    expect(epochOf(b)).toBe('1.a');
    expect(pair.target('b')).toBe('a');
    expect(stateOf(b)).toBe('alone');
    // Now the store itself cannot be read from here: the tenth is all that there is.
    renameSync(pair.san('a'), `${pair.san('a')}.gone`);
    await until('b takes over', () => pair.target('b') === 'b');
    expect(epochOf(b)).toBe('2.b');
    await until('the alarm is over', () =>
      b.alarms.list().every((x) => x.code !== 'take-over-held'),
    );
  });

  test('the holder’s SAN dies under a living process: unready there, and the holder moves', async () => {
    await using pair = new TwoSites('t1');
    const { a, b } = await pair.startBoth();
    await until('b at a', () => pair.target('b') === 'a');
    renameSync(pair.san('a'), `${pair.san('a')}.gone`);
    await until('a failed', () => stateOf(a) === 'failed');
    await until('links at b', () => pair.target('a') === 'b' && pair.target('b') === 'b');
    await until('b holds', () => epochOf(b) === '2.b' && epochOf(a) === '2.b');
    expect(a.alarms.list().map((x) => x.code)).toContain('store-failed');
    mkdirSync(pair.san('a'));
    await a.store.probe.check();
    expect(a.store.condition()).toBe('failed');
    rmSync(pair.san('a'), { recursive: true });
    renameSync(`${pair.san('a')}.gone`, pair.san('a'));
    await until('paired again', () => stateOf(a) === 'paired');
    expect(pair.target('a')).toBe('b');
    expect(epochOf(a)).toBe('2.b');
    await until('the store has the epoch', () =>
      readFileSync(path.join(pair.san('a'), '.twinsite/epoch.json'), 'utf8').includes('"b"'),
    );
  });

  test('the own store of the other site dies: its link stays where it is and it is failed', async () => {
    await using pair = new TwoSites('t1');
    const { a, b } = await pair.startBoth();
    renameSync(pair.san('b'), `${pair.san('b')}.gone`);
    await until('b failed', () => stateOf(b) === 'failed');
    expect(pair.target('b')).toBe('a');
    await a.stop();
    await Bun.sleep(QUICK.lostAfterMs + 300);
    expect(epochOf(b)).toBe('1.a');
    expect(stateOf(b)).toBe('failed');
  });

  test('D5: a site that returns alone reads the other store’s epoch and does not go back to its older store', async () => {
    await using pair = new TwoSites('t1');
    const { a, b } = await pair.startBoth();
    await a.stop();
    await until('b holds', () => epochOf(b) === '2.b');
    await b.stop();
    const again = await pair.start('a');
    await until('started alone', () => stateOf(again) === 'alone');
    expect(again.failover.view()).toMatchObject({ mayBeStale: true, holder: 'b' });
    expect(again.failover.served()).toBe(true);
    await Bun.sleep(QUICK.lostAfterMs);
    expect(epochOf(again)).toBe('2.b');
    expect(pair.target('a')).toBe('b');
    expect(again.alarms.list().map((x) => x.code)).toContain('take-over-held');
  });

  test('somebody moves the link by hand: it is put back', async () => {
    await using pair = new TwoSites('t1');
    const { a } = await pair.startBoth();
    expect(pair.target('a')).toBe('a');
    rmSync(pair.filestore('a'));
    symlinkSync(pair.san('b'), pair.filestore('a'));
    await until('put back', () => pair.target('a') === 'a');
    await until('said so', () => a.failover.filestoreStatus().target === pair.san('a'));
  });
});

describe('T2: each host has its own store', () => {
  test('the link never moves; the epoch does', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    expect([pair.target('a'), pair.target('b')]).toEqual(['a', 'b']);
    await a.stop();
    const tookMs = await until('b holds', () => epochOf(b) === '2.b');
    expect(tookMs).toBeLessThan(QUICK.lostAfterMs + 500);
    const again = await pair.start('a');
    await until('a follows', () => epochOf(again) === '2.b');
    await until('paired', () => stateOf(again) === 'paired' && stateOf(b) === 'paired');
    expect([pair.target('a'), pair.target('b')]).toEqual(['a', 'b']);
  });

  test('the holder never raises the epoch when the other dies', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    await b.stop();
    await until('a alone', () => stateOf(a) === 'alone');
    await until('b lost', () => a.failover.view().verdict === 'lost');
    await Bun.sleep(300);
    expect(epochOf(a)).toBe('1.a');
  });

  test('D1: both took over under one number while apart: one holder when they meet', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    await a.stop();
    await until('b holds', () => epochOf(b) === '2.b');
    await b.stop();
    const a2 = await pair.start('a');
    // a never heard of 2.b: it holds 1.a, and its operator’s restart of b finds 2.b there.
    await until('a alone', () => stateOf(a2) === 'alone');
    expect(epochOf(a2)).toBe('1.a');
    const b2 = await pair.start('b');
    await until('one holder', () => epochOf(a2) === '2.b' && epochOf(b2) === '2.b');
  });

  test('D1: of two epochs with one number the first by name holds, at both', async () => {
    await using pair = new TwoSites('t2');
    for (const name of ['a', 'b'] as const) {
      await Bun.write(path.join(pair.data(name), 'epoch.json'), `{"number":6,"site":"${name}"}`);
    }
    const { a, b } = await pair.startBoth();
    expect([epochOf(a), epochOf(b)]).toEqual(['6.a', '6.a']);
  });

  test('a cut link: both go on, the other takes over, and they agree when it heals', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    pair.links.mode = 'silent';
    await until('apart', () => stateOf(a) === 'alone' && epochOf(b) === '2.b');
    expect(epochOf(a)).toBe('1.a');
    pair.links.mode = 'up';
    await until('together', () => stateOf(a) === 'paired' && stateOf(b) === 'paired');
    expect([epochOf(a), epochOf(b)]).toEqual(['2.b', '2.b']);
  });

  test('D3: heartbeats wedged while other bytes flow: suspect and degraded, no take over', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    pair.links.wedged.add('heartbeat');
    const untilMs = performance.now() + QUICK.lostAfterMs * 2;
    while (performance.now() < untilMs) {
      pair.links.otherBytes('a');
      pair.links.otherBytes('b');
      await Bun.sleep(10);
    }
    expect(b.failover.view().verdict).toBe('suspect');
    expect([stateOf(a), stateOf(b)]).toEqual(['alone', 'alone']);
    expect([epochOf(a), epochOf(b)]).toEqual(['1.a', '1.a']);
  });

  test('one direction lost: whoever is not heard is not alive for long', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    pair.links.mode = 'only-a-to-b';
    await until('both degrade', () => stateOf(a) === 'alone' && stateOf(b) === 'alone');
    expect(b.failover.view().verdict).not.toBe('alive');
    expect(b.failover.view().verdict).not.toBe('lost');
  });

  test('D8: a second process with one identity is refused and concludes nothing', async () => {
    await using pair = new TwoSites('t2');
    const { a } = await pair.startBoth();
    // A copy of b’s host with an older counter comes up beside it.
    const beats = a.failover.peerStatus()?.lastHeardMs;
    expect(beats).not.toBeNull();
    const copyLink = pair.links.b;
    const exchange = await copyLink.open('heartbeat', {}, { timeoutMs: 500 });
    const line = {
      v: 1,
      site: 'b',
      start: 0,
      run: 'copy',
      seq: 1,
      heard: null,
      heldMs: 0,
      wallMs: Date.now(),
      version: 'dev',
      protocol: 1,
      state: 'alone',
      epoch: { number: 99, site: 'b' },
      stale: false,
      store: { id: null, condition: 'ok', settled: true },
      knowsStore: null,
      facts: a.facts,
    };
    await exchange.send(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
    let said = '';
    try {
      for await (const chunk of exchange.incoming) said += new TextDecoder().decode(chunk);
    } catch {}
    expect(said).toContain('refused');
    expect(epochOf(a)).toBe('1.a');
    expect(a.alarms.list().map((x) => x.code)).toContain('identity-clone');
  });

  test('beats that make no sense break the exchange, not the site', async () => {
    await using pair = new TwoSites('t2');
    const { a } = await pair.startBoth();
    for (const text of ['nonsense\n', '{"v":1}\n', 'x'.repeat(20_000)]) {
      const exchange = await pair.links.b.open('heartbeat', {}, { timeoutMs: 500 });
      await exchange.send(new TextEncoder().encode(text));
      await exchange.closed;
    }
    expect(stateOf(a)).toBe('paired');
  });

  test('replication that stops streaming: joining, then paired again after it held', async () => {
    await using pair = new TwoSites('t2');
    const { a } = await pair.startBoth();
    a.facts.databaseStreaming = false;
    await until('joining', () => stateOf(a) === 'joining');
    a.facts.databaseStreaming = true;
    const tookMs = await until('paired', () => stateOf(a) === 'paired');
    expect(tookMs).toBeGreaterThanOrEqual(QUICK.rearmAfterMs - 20);
    expect(a.failover.served()).toBe(true);
  });
});

describe('a site without a peer', () => {
  test('start alone waits first, then serves and may be stale; both end with the meeting', async () => {
    await using pair = new TwoSites('t2');
    const b = await pair.start('b');
    await until('joining', () => stateOf(b) === 'joining');
    expect(b.failover.served()).toBe(false);
    expect(pair.target('b')).toBe('b');
    await until('alone', () => stateOf(b) === 'alone');
    expect(b.failover.view()).toMatchObject({ mayBeStale: true, epoch: null, holder: null });
    const a = await pair.start('a');
    await pair.paired(a, b);
    expect(b.failover.view()).toMatchObject({ mayBeStale: false, holder: 'a' });
  });

  test('before its own parts are up it only starts', async () => {
    await using pair = new TwoSites('t2');
    const a = await pair.start('a');
    a.knobs.partsUp = false;
    expect(stateOf(a)).toBe('starting');
    a.knobs.partsUp = true;
    await until('joining', () => stateOf(a) === 'joining');
  });
});

describe('drain and resume', () => {
  test('draining takes nothing over and resume undoes it', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    b.knobs.busy = true;
    const drained = b.failover.control.drain(true);
    await until('draining', () => stateOf(b) === 'draining');
    await a.stop();
    await Bun.sleep(QUICK.lostAfterMs + 200);
    expect(epochOf(b)).toBe('1.a');
    b.knobs.busy = false;
    await drained;
    await b.failover.control.resume();
    expect(stateOf(b)).toBe('alone');
    await until('takes over now', () => epochOf(b) === '2.b');
  });
});

describe('switchover', () => {
  for (const asker of ['a', 'b'] as const) {
    test(`asked at ${asker}: both links stand when it resolves, there and back`, async () => {
      await using pair = new TwoSites('t1');
      const { a, b } = await pair.startBoth();
      const { control } = asker === 'a' ? a.failover : b.failover;
      const there = await control.switchover(null);
      expect(there).toMatchObject({ holder: 'b', epoch: { number: 2, site: 'b' } });
      expect([pair.target('a'), pair.target('b')]).toEqual(['b', 'b']);
      expect([epochOf(a), epochOf(b)]).toEqual(['2.b', '2.b']);
      const back = await control.switchover('a' as never);
      expect(back.holder).toBe('a' as never);
      expect([pair.target('a'), pair.target('b')]).toEqual(['a', 'a']);
      const same = await control.switchover('a' as never);
      expect(same.epoch).toEqual(back.epoch);
      expect([stateOf(a), stateOf(b)]).toEqual(['paired', 'paired']);
      expect(a.transitions).toEqual(['starting>joining', 'joining>paired']);
    });
  }

  test('is refused with the reason when the peer is away, failed, draining or unknown', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    expect(await rejection(a.failover.control.switchover('c' as never))).toMatchObject({
      code: 'usage',
    });
    await b.failover.control.drain(false);
    await until('known', () => a.failover.peerStatus() !== null);
    await Bun.sleep(100);
    expect((await rejection(a.failover.control.switchover(null))).message).toContain('draining');
    await b.failover.control.resume();
    renameSync(pair.san('b'), `${pair.san('b')}.gone`);
    await until('b failed', () => stateOf(b) === 'failed');
    await Bun.sleep(100);
    expect((await rejection(a.failover.control.switchover(null))).message).toContain('store of b');
    await b.stop();
    await until('lost', () => a.failover.view().verdict === 'lost');
    expect(await rejection(a.failover.control.switchover(null))).toMatchObject({
      code: 'peer-unreachable',
    });
    expect(epochOf(a)).toBe('1.a');
  });

  test('D6: waits for files on their way', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    b.facts.filesDrained = false;
    const moving = a.failover.control.switchover(null);
    await Bun.sleep(300);
    expect(epochOf(b)).toBe('1.a');
    b.facts.filesDrained = true;
    expect((await moving).holder).toBe('b' as never);
  });

  test('two at once: one moves the holder, and both sites agree', async () => {
    await using pair = new TwoSites('t2');
    const { a, b } = await pair.startBoth();
    const results = await Promise.allSettled([
      a.failover.control.switchover(null),
      b.failover.control.switchover(null),
    ]);
    await until('they agree', () => epochOf(a) === epochOf(b));
    expect(results.filter((result) => result.status === 'fulfilled').length).toBeLessThanOrEqual(2);
    expect(['1.a', '2.b']).toContain(epochOf(a) ?? '');
    const later = await a.failover.control.switchover('b' as never);
    expect(later.holder).toBe('b' as never);
  });

  test('auto-failback returns the holder to the first site by name', async () => {
    await using pair = new TwoSites('t1');
    const { a, b } = await pair.startBoth({ autoFailbackMs: 300 });
    await b.failover.control.switchover(null);
    await until('back', () => epochOf(a) === '3.a' && pair.target('b') === 'a');
  });
});

test('no temp of the link is left behind', async () => {
  await using pair = new TwoSites('t1');
  symlinkSync('/nowhere', path.join(pair.base, 'home_a', '.filestore.twinsite-0123'));
  await pair.startBoth();
  expect(existsSync(path.join(pair.base, 'home_a', '.filestore.twinsite-0123'))).toBe(false);
});
