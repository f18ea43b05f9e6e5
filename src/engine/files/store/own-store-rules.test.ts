import { describe, expect, test } from 'bun:test';
import { formatMarker, newMarker } from './marker.ts';
import { judgeOwnStore, type OwnStoreFacts } from './own-store-rules.ts';
import type { StoreLook } from './probe-protocol.ts';

const HOST = 'alpha/0123';
const identity = { pairId: 'pair-1', site: 'a' };
const bound = newMarker({ pair: 'pair-1', site: 'a', host: HOST, wallMs: 1_000 });
const other = newMarker({ pair: 'pair-1', site: 'a', host: HOST, wallMs: 2_000 });
const fresh = newMarker({ pair: null, site: null, host: HOST, wallMs: 3_000 });

function look(marker: Parameters<typeof formatMarker>[0] | null, more: Partial<StoreLook> = {}) {
  return {
    device: '1',
    inode: '2',
    sameDeviceAsRoot: false,
    fileSystem: 0xef53,
    freeBytes: 1,
    totalBytes: 2,
    marker: marker === null ? null : formatMarker(marker),
    markerError: null,
    empty: false,
    write: null,
    ...more,
  };
}

function facts(more: Partial<OwnStoreFacts>): OwnStoreFacts {
  return {
    root: '/san',
    look: look(null, { empty: true }),
    remembered: null,
    rememberedWhere: '/data/store.json',
    identity,
    peerKnows: null,
    peerStoreId: null,
    host: HOST,
    ...more,
  };
}

const remembered = { storeId: bound.storeId, origin: 'self', settled: true } as const;

describe('an unmarked directory', () => {
  test('is taken when it is empty and nobody ever knew a store', () => {
    expect(judgeOwnStore(facts({})).verdict).toBe('create');
    expect(judgeOwnStore(facts({ peerKnows: undefined })).verdict).toBe('create');
    expect(judgeOwnStore(facts({ identity: null })).verdict).toBe('create');
  });

  test('is refused when it is not empty, with the command that adopts it', () => {
    const verdict = judgeOwnStore(facts({ look: look(null) }));
    expect(verdict).toMatchObject({ verdict: 'refused', code: 'store-unmarked' });
    expect(JSON.stringify(verdict)).toContain('store init /san --adopt');
  });

  test('is refused when this site remembers a store: an unmounted SAN is no new store', () => {
    const verdict = judgeOwnStore(
      facts({ remembered, look: look(null, { empty: true, sameDeviceAsRoot: true }) }),
    );
    expect(verdict).toMatchObject({ verdict: 'refused', code: 'store-unmarked' });
    const text = JSON.stringify(verdict);
    expect(text).toContain(bound.storeId);
    expect(text).toContain('/data/store.json');
    expect(text).toContain('SAN is not mounted');
  });

  test('is refused when only the peer remembers one: a rebuilt host', () => {
    const verdict = judgeOwnStore(facts({ peerKnows: bound.storeId }));
    expect(verdict).toMatchObject({ verdict: 'refused', code: 'store-unmarked' });
    expect(JSON.stringify(verdict)).toContain('known to the peer');
  });
});

describe('a marked directory', () => {
  test('of this site is taken, also by a site that lost its memory', () => {
    expect(judgeOwnStore(facts({ look: look(bound), remembered })).verdict).toBe('ours');
    expect(judgeOwnStore(facts({ look: look(bound) })).verdict).toBe('ours');
  });

  test('made by a person replaces the store that was known', () => {
    const verdict = judgeOwnStore(
      facts({ look: look(fresh), remembered, peerKnows: bound.storeId }),
    );
    expect(verdict).toMatchObject({
      verdict: 'ours',
      bind: true,
      remember: { storeId: fresh.storeId, origin: 'person', settled: true },
    });
  });

  test('with another id is foreign', () => {
    const verdict = judgeOwnStore(facts({ look: look(other), remembered }));
    expect(verdict).toMatchObject({ verdict: 'refused', code: 'store-foreign' });
    expect(JSON.stringify(verdict)).toContain(bound.storeId);
  });

  test('with another id is taken when it is the one that the peer knows', () => {
    const self = { ...remembered, settled: false };
    expect(
      judgeOwnStore(facts({ look: look(other), remembered: self, peerKnows: other.storeId }))
        .verdict,
    ).toBe('ours');
  });

  test('that this site wrote by itself before it heard of the right one is refused at the meeting', () => {
    const self = { ...remembered, settled: false };
    const before = judgeOwnStore(
      facts({ look: look(bound), remembered: self, peerKnows: undefined }),
    );
    expect(before).toMatchObject({ verdict: 'ours', remember: { settled: false } });
    const after = judgeOwnStore(
      facts({ look: look(bound), remembered: self, peerKnows: other.storeId }),
    );
    expect(after).toMatchObject({ verdict: 'refused', code: 'store-foreign' });
  });

  test('B5: of the other site, of another pair, or with the peer’s id is foreign', () => {
    const theirs = { ...bound, site: 'b' };
    const strange = { ...bound, pair: 'pair-2' };
    for (const marker of [theirs, strange]) {
      expect(judgeOwnStore(facts({ look: look(marker) }))).toMatchObject({ code: 'store-foreign' });
    }
    expect(
      judgeOwnStore(facts({ look: look(bound), remembered, peerStoreId: bound.storeId })),
    ).toMatchObject({ code: 'store-foreign' });
  });

  test('that is damaged or unreadable is no store', () => {
    for (const bad of [
      look(null, { markerError: 'EIO' }),
      { ...look(null), marker: '{"format":1}' },
      { ...look(null), marker: `{"format":1,"x":"${'y'.repeat(20_000)}"}` },
    ]) {
      expect(judgeOwnStore(facts({ look: bad }))).toMatchObject({ code: 'store-unmarked' });
    }
  });

  test('that moved to another host is bound anew', () => {
    expect(judgeOwnStore(facts({ look: look(bound), host: 'beta/9999' }))).toMatchObject({
      verdict: 'ours',
      bind: true,
    });
  });
});
