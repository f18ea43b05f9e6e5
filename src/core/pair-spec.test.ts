import { expect, test } from 'bun:test';
import { parsePairSpec } from './pair-spec.ts';

test.each([
  ['host.example', 'a', 'https://host.example:7443'],
  ['edinburgh=host.example', 'edinburgh', 'https://host.example:7443'],
  ['a=host.example:7555', 'a', 'https://host.example:7555'],
  ['a=10.0.0.1', 'a', 'https://10.0.0.1:7443'],
  ['a=[::1]', 'a', 'https://[::1]:7443'],
  ['[2001:db8::5]:443', 'a', 'https://[2001:db8::5]:443'],
  ['a=host_1', 'a', 'https://host_1:7443'],
])('%s', (text, site, url) => {
  const spec = parsePairSpec(text, 'a');
  expect(spec).toMatchObject({ ok: true, site, url });
});

test.each([
  ['', 'no usable host'],
  ['a=', 'no usable host'],
  ['=host', 'site name'],
  ['A=host', 'site name'],
  ['a_b=host', 'site name'],
  ['a=::1', 'brackets'],
  ['a=host:0', '1 to 65535'],
  ['a=host:65536', '1 to 65535'],
  ['a=host:port', 'no usable host'],
  ['a=https://host', 'no usable host'],
  ['a=host/path', 'no usable host'],
  ['a=user@host', 'no usable host'],
  ['a=-host', 'no usable host'],
  ['a=999.1.1.1', 'no usable host'],
])('refuses %p', (text, why) => {
  const spec = parsePairSpec(text, 'a');
  expect(spec.ok ? 'ok' : spec.text).toContain(why);
});
