import { describe, expect, test } from 'bun:test';
import { renderConfiguration, sharedBuffersBytes, walKeepLimitBytes } from './configuration.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const OPTIONS = {
  socketDirectory: "/srv/it's/postgres/socket",
  freeDiskBytes: 100 * GIB,
  memoryBytes: 16 * GIB,
  major: 18,
  hasDevShm: true,
};

describe('configuration', () => {
  test('a quarter of the free disk, at least 2 GiB, is kept for an absent peer', () => {
    expect(walKeepLimitBytes(100 * GIB)).toBe(25 * GIB);
    expect(walKeepLimitBytes(1 * GIB)).toBe(2 * GIB);
    expect(walKeepLimitBytes(0)).toBe(2 * GIB);
  });

  test('shared buffers scale within bounds', () => {
    expect(sharedBuffersBytes(1 * GIB)).toBe(64 * MIB);
    expect(sharedBuffersBytes(6 * GIB)).toBe(96 * MIB);
    expect(sharedBuffersBytes(512 * GIB)).toBe(128 * MIB);
  });

  test('keeps what receipts stand on, has no TCP port, and quotes paths', () => {
    const text = renderConfiguration(OPTIONS);
    for (const line of [
      "listen_addresses = ''",
      'fsync = on',
      'full_page_writes = on',
      'synchronous_commit = on',
      'wal_level = logical',
      'max_slot_wal_keep_size = 25600MB',
      `unix_socket_directories = '"/srv/it''s/postgres/socket"'`,
    ]) {
      expect(text.split('\n')).toContain(line);
    }
  });

  test('leaves out what other servers do not know', () => {
    expect(renderConfiguration(OPTIONS)).toContain('max_active_replication_origins');
    expect(renderConfiguration({ ...OPTIONS, major: 17 })).not.toContain('origins');
    expect(renderConfiguration({ ...OPTIONS, hasDevShm: false })).toContain('= sysv');
  });
});
