/** `a=HOST[:PORT]` as `twinsite pair` takes it. */
import { parseSiteName, type SiteName } from './ids.ts';

export const PEER_PORT = 7443;

export type PairSpec =
  | {
      readonly ok: true;
      readonly site: SiteName;
      readonly host: string;
      readonly port: number;
      readonly url: string;
    }
  | { readonly ok: false; readonly text: string };

const HOST = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?)$/;

/** Parses one site of a pair; `fallback` names it when the text is a bare host. IPv6 stands in brackets. */
export function parsePairSpec(text: string, fallback: string): PairSpec {
  const refuse = (why: string) => ({ ok: false, text: `"${text}" ${why}` }) as const;
  const equals = text.indexOf('=');
  const name = equals < 0 ? fallback : text.slice(0, equals);
  const address = text.slice(equals + 1);
  const site = parseSiteName(name);
  if (!site)
    return refuse(
      `has no usable site name: 1 to 32 of a-z 0-9 -, beginning and ending with a letter or digit`,
    );
  if (!address.startsWith('[') && address.split(':').length > 2)
    return refuse('has an IPv6 address without brackets: write [::1] or [::1]:7443');
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(address);
  const host = match?.[1] ?? '';
  const port = match?.[2] === undefined ? PEER_PORT : Number(match[2]);
  if (port < 1 || port > 65_535) return refuse('has a port that is not 1 to 65535');
  const parsed = HOST.test(host) ? URL.parse(`https://${host}:${port}`) : null;
  if (!parsed) return refuse('has no usable host: write HOST or HOST:PORT');
  return { ok: true, site, host: parsed.hostname, port, url: `https://${parsed.hostname}:${port}` };
}
