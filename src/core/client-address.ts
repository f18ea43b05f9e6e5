/**
 * Who is asking: the socket's address, or what a trusted proxy says in front of it. Forwarding headers
 * of anybody else are lies until shown otherwise and are never believed.
 */

/** An address as a number of its family's width; IPv4 in IPv6 (`::ffff:…`) is IPv4. */
interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

export interface Cidr extends Address {
  readonly prefix: number;
}

export interface ClientView {
  /** As text, for logs. */
  readonly address: string;
  readonly loopback: boolean;
  /** The client's own connection is encrypted, or does not leave this machine or the trusted proxy. */
  readonly secure: boolean;
}

function parseIpv4(text: string): bigint | null {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) {
    return null;
  }
  return parts.reduce((value, part) => value * 256n + BigInt(part), 0n);
}

function parseGroups(text: string): bigint[] | null {
  if (text === '') return [];
  const groups = text.split(':');
  if (!groups.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return null;
  return groups.map((group) => BigInt(`0x${group}`));
}

function parseIpv6(text: string): bigint | null {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const v4 = dotted ? parseIpv4(dotted[2] ?? '') : null;
  if (dotted && v4 === null) return null;
  const plain =
    v4 === null
      ? text
      : `${dotted?.[1] ?? ''}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`;
  const halves = plain.split('::');
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] ?? '');
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '') : [];
  if (!head || !tail) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const groups = [...head, ...Array<bigint>(Math.max(0, missing)).fill(0n), ...tail];
  return groups.reduce((value, group) => value * 65536n + group, 0n);
}

/** An IP address; null for anything else. Brackets and a zone (`%eth0`) are taken off. */
export function parseAddress(text: string): Address | null {
  const bare = text
    .trim()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/%.*$/, '');
  const v4 = parseIpv4(bare);
  if (v4 !== null) return { bits: 32, value: v4 };
  const v6 = bare.includes(':') ? parseIpv6(bare) : null;
  if (v6 === null) return null;
  return v6 >> 32n === 0xffffn ? { bits: 32, value: v6 & 0xffffffffn } : { bits: 128, value: v6 };
}

/** `10.0.0.0/8`, `fd00::/8` or a single address; null for anything else. */
export function parseCidr(text: string): Cidr | null {
  const [address = '', prefixText, ...rest] = text.trim().split('/');
  const parsed = parseAddress(address);
  if (!parsed || rest.length > 0) return null;
  if (prefixText === undefined) return { ...parsed, prefix: parsed.bits };
  const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : -1;
  return prefix >= 0 && prefix <= parsed.bits ? { ...parsed, prefix } : null;
}

function contains(cidr: Cidr, address: Address): boolean {
  if (cidr.bits !== address.bits) return false;
  const shift = BigInt(cidr.bits - cidr.prefix);
  return cidr.value >> shift === address.value >> shift;
}

const LOOPBACK: readonly Cidr[] = [
  { bits: 32, value: 0x7f000000n, prefix: 8 },
  { bits: 128, value: 1n, prefix: 128 },
];

const within = (ranges: readonly Cidr[], text: string): boolean => {
  const address = parseAddress(text);
  return address !== null && ranges.some((range) => contains(range, address));
};

const FORWARDING = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via'];
/** More hops than any sane chain has. */
const MAX_HOPS = 32;

function withoutPort(hop: string): string {
  const text = hop.trim().replace(/^"(.*)"$/, '$1');
  const bracketed = /^\[([^\]]*)\](:\d+)?$/.exec(text);
  if (bracketed) return bracketed[1] ?? '';
  const v4WithPort = /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text);
  return v4WithPort?.[1] ?? text;
}

function forwardedParameters(value: string, name: string): string[] {
  return value.split(',').flatMap((element) => {
    const match = new RegExp(`(?:^|;)\\s*${name}\\s*=\\s*("[^"]*"|[^;\\s]+)`, 'i').exec(element);
    return match?.[1] ? [match[1].replace(/^"(.*)"$/, '$1')] : [];
  });
}

/** The client behind trusted proxies: the rightmost hop that is not one of them. */
export function viewClient(
  socketAddress: string | null,
  encrypted: boolean,
  header: (name: string) => string | null,
  trusted: readonly Cidr[],
): ClientView {
  // A request without a socket address came over a Unix socket: its permissions are the check.
  if (socketAddress === null) return { address: 'unix', loopback: true, secure: true };
  const proxied = FORWARDING.some((name) => header(name) !== null);
  if (!within(trusted, socketAddress)) {
    const loopback = !proxied && within(LOOPBACK, socketAddress);
    return { address: socketAddress, loopback, secure: encrypted || loopback };
  }
  const forwarded = header('forwarded');
  const forwardedFor = header('x-forwarded-for');
  const hops = (
    forwardedFor !== null
      ? forwardedFor.split(',')
      : forwarded !== null
        ? forwardedParameters(forwarded, 'for')
        : []
  )
    .slice(-MAX_HOPS)
    .map(withoutPort);
  const client = hops.reverse().find((hop) => !within(trusted, hop)) ?? hops.at(-1);
  const protocol = (
    header('x-forwarded-proto')?.split(',').at(-1) ??
    (forwarded === null ? undefined : forwardedParameters(forwarded, 'proto').at(-1))
  )
    ?.trim()
    .toLowerCase();
  const address = client ?? socketAddress;
  return {
    address,
    loopback: within(LOOPBACK, address) && (client !== undefined || !proxied),
    secure: encrypted || protocol === undefined || protocol === 'https',
  };
}
