import { expect, test } from 'bun:test';
import { parseAddress, parseCidr, viewClient } from './client-address.ts';

test.each([
  ['127.0.0.1', 32, 0x7f000001n],
  ['::1', 128, 1n],
  ['[::1]', 128, 1n],
  ['::', 128, 0n],
  ['fe80::1%eth0', 128, 0xfe80_0000_0000_0000_0000_0000_0000_0001n],
  ['::ffff:10.0.0.1', 32, 0x0a000001n],
  ['::FFFF:0a00:1', 32, 0x0a000001n],
  ['1:2:3:4:5:6:7:8', 128, 0x0001_0002_0003_0004_0005_0006_0007_0008n],
] as const)('%s is an address', (text, bits, value) => {
  expect(parseAddress(text)).toEqual({ bits, value });
});

test.each([
  '',
  'localhost',
  '1.2.3',
  '256.1.1.1',
  '1.2.3.4.5',
  ':::',
  '1::2::3',
  '1:2',
  'g::1',
  '::1.2.3',
  '1:2:3:4:5:6:7:8:9',
])('%j is none', (text) => {
  expect(parseAddress(text)).toBeNull();
});

test.each(['10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/8/8', 'x/8', '::/129', '10.0.0.0/'])(
  '%j is no CIDR',
  (text) => {
    expect(parseCidr(text)).toBeNull();
  },
);

const trusted = ['10.0.0.0/8', 'fd00::/8', '192.0.2.7'].flatMap((text) => parseCidr(text) ?? []);
const see = (socket: string | null, headers: Record<string, string> = {}, encrypted = false) =>
  viewClient(socket, encrypted, (name) => headers[name] ?? null, trusted);

test.each([
  ['a stranger', '203.0.113.5', {}, '203.0.113.5', false, false],
  [
    'a stranger who lies',
    '203.0.113.5',
    { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'https' },
    '203.0.113.5',
    false,
    false,
  ],
  ['loopback', '127.0.0.1', {}, '127.0.0.1', true, true],
  [
    'a proxy on loopback that is not trusted',
    '127.0.0.1',
    { 'x-forwarded-for': '1.2.3.4' },
    '127.0.0.1',
    false,
    false,
  ],
  ['a trusted proxy', '10.1.1.1', { 'x-forwarded-for': '203.0.113.9' }, '203.0.113.9', false, true],
  [
    'a chain: the rightmost that is not trusted',
    '10.1.1.1',
    { 'x-forwarded-for': '127.0.0.1, 203.0.113.9, 10.2.2.2' },
    '203.0.113.9',
    false,
    true,
  ],
  [
    'only trusted hops: the first of them',
    '10.1.1.1',
    { 'x-forwarded-for': '10.3.3.3, 10.2.2.2' },
    '10.3.3.3',
    false,
    true,
  ],
  [
    'http in front',
    '10.1.1.1',
    { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'http' },
    '203.0.113.9',
    false,
    false,
  ],
  [
    'https in front, port on the hop',
    'fd12::1',
    { 'x-forwarded-for': '203.0.113.9:4711', 'x-forwarded-proto': 'HTTPS' },
    '203.0.113.9',
    false,
    true,
  ],
  [
    'Forwarded',
    '192.0.2.7',
    { forwarded: 'for="[2001:db8::1]:4711";proto=https;by=x' },
    '2001:db8::1',
    false,
    true,
  ],
  [
    'Forwarded with http',
    '192.0.2.7',
    { forwarded: 'for=203.0.113.9;Proto="http"' },
    '203.0.113.9',
    false,
    false,
  ],
  [
    'an obfuscated hop is nobody near',
    '10.1.1.1',
    { forwarded: 'for=_hidden' },
    '_hidden',
    false,
    true,
  ],
  ['a proxy that names nobody', '10.1.1.1', { via: '1.1 x' }, '10.1.1.1', false, true],
] as const)('%s', (_, socket, headers, address, loopback, secure) => {
  expect(see(socket, headers)).toEqual({ address, loopback, secure });
});

test('TLS to us is secure whatever is said; a Unix socket is this machine', () => {
  expect(see('203.0.113.5', { 'x-forwarded-proto': 'http' }, true).secure).toBe(true);
  expect(see(null)).toEqual({ address: 'unix', loopback: true, secure: true });
});
