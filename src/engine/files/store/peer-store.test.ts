import { describe, expect, test } from 'bun:test';
import { formatMarker, newMarker } from './marker.ts';
import { judgePeerStore, type PeerStoreFacts } from './peer-store.ts';

const marker = newMarker({ pair: 'p', site: 'b', host: 'beta/2', wallMs: 1 });
const NFS = 0x6969;
const EXT4 = 0xef53;

function facts(more: Partial<PeerStoreFacts> = {}, fileSystem = NFS): PeerStoreFacts {
  return {
    look: {
      device: '1',
      inode: '2',
      sameDeviceAsRoot: false,
      fileSystem,
      freeBytes: 1,
      totalBytes: 1,
      marker: formatMarker(marker),
      markerError: null,
      empty: false,
      write: null,
    },
    pairId: 'p',
    peer: 'b',
    peerStoreId: marker.storeId,
    own: { device: '9', inode: '9', id: 'x' },
    host: 'alpha/1',
    ...more,
  };
}

describe('--peer-store', () => {
  test('must carry the store that the peer announces', () => {
    expect(judgePeerStore(facts()).ok).toBe(true);
    expect(judgePeerStore(facts({ peerStoreId: null })).ok).toBe(true);
    expect(judgePeerStore(facts({ peerStoreId: 'another' }))).toMatchObject({ ok: false });
    expect(judgePeerStore(facts({ peer: 'c' }))).toMatchObject({ ok: false, fatal: false });
    expect(judgePeerStore(facts({ pairId: 'q' }))).toMatchObject({ ok: false });
  });

  test('on ext4, XFS or Btrfs of another host is refused for good', () => {
    for (const type of [EXT4, 0x58465342, 0x9123683e]) {
      expect(judgePeerStore(facts({}, type))).toMatchObject({ ok: false, fatal: true });
    }
    expect(judgePeerStore(facts({ host: 'beta/2' }, EXT4)).ok).toBe(true);
  });

  test('that is --store itself is refused for good', () => {
    const own = { device: '1', inode: '2', id: 'x' };
    expect(judgePeerStore(facts({ own }))).toMatchObject({ ok: false, fatal: true });
  });

  test('with this site’s own id is refused', () => {
    const own = { device: '9', inode: '9', id: marker.storeId };
    expect(judgePeerStore(facts({ own }))).toMatchObject({ ok: false });
  });
});
