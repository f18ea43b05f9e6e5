import { describe, expect, test } from 'bun:test';
import { errorResponse, readStartupPacket } from './startup-packet.ts';

const allowed = { user: 'twinsite_replication', database: 'twinsite' };

function packet(code: number, parameters: Readonly<Record<string, string>> | null): Buffer {
  const words =
    parameters === null
      ? ''
      : `${Object.entries(parameters)
          .map(([name, value]) => `${name}\0${value}\0`)
          .join('')}\0`;
  const body = Buffer.from(words);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length, 0);
  head.writeUInt32BE(code, 4);
  return Buffer.concat([head, body]);
}

const V3 = 3 << 16;
const good = { user: allowed.user, database: allowed.database, replication: 'database' };

describe('readStartupPacket', () => {
  test('accepts a subscription, with what follows it', () => {
    const bytes = packet(V3, { ...good, options: '-c datestyle=ISO', application_name: 'x' });
    expect(readStartupPacket(bytes, allowed)).toEqual({ kind: 'accepted' });
    const more = Buffer.concat([bytes, Buffer.from('Q')]);
    expect(readStartupPacket(more, allowed)).toEqual({ kind: 'accepted' });
  });
  test('waits for the whole packet, byte by byte', () => {
    const bytes = packet(V3, good);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(readStartupPacket(bytes.subarray(0, length), allowed).kind).toBe('incomplete');
    }
  });
  test.each([80_877_103, 80_877_104])('asks for encryption: %d', (code) => {
    expect(readStartupPacket(packet(code, null), allowed)).toEqual({
      kind: 'encryption',
      bytes: 8,
    });
  });
  test.each<[string, Buffer]>([
    ['cancel', packet(80_877_102, null)],
    ['protocol 2', packet(2 << 16, good)],
    ['another user', packet(V3, { ...good, user: 'twinsite' })],
    ['another database', packet(V3, { ...good, database: 'postgres' })],
    ['no replication', packet(V3, { user: good.user, database: good.database })],
    ['physical replication', packet(V3, { ...good, replication: 'true' })],
    ['an unknown parameter', packet(V3, { ...good, session_authorization: 'twinsite' })],
    ['no terminator', packet(V3, good).fill(65, 50)],
    ['a length of 4', Buffer.from([0, 0, 0, 4, 0, 3, 0, 0])],
    ['a length of 1 MiB', Buffer.from([0, 16, 0, 0, 0, 3, 0, 0])],
  ])('refuses %s', (_name, bytes) => {
    expect(readStartupPacket(bytes, allowed).kind).toBe('refused');
  });
  test('a duplicate of the user counts by its last value', () => {
    const twice = Buffer.concat([Buffer.from(`user\0${good.user}\0`), Buffer.from('user\0root\0')]);
    const rest = Buffer.from(`database\0twinsite\0replication\0database\0\0`);
    const body = Buffer.concat([twice, rest]);
    const head = Buffer.alloc(8);
    head.writeUInt32BE(8 + body.length, 0);
    head.writeUInt32BE(V3, 4);
    expect(readStartupPacket(Buffer.concat([head, body]), allowed).kind).toBe('refused');
  });
});

test('errorResponse has the length that its header says', () => {
  const bytes = Buffer.from(errorResponse('no'));
  expect(bytes.readUInt32BE(1)).toBe(bytes.length - 1);
});
