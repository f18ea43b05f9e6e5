import { expect, test } from 'bun:test';
import { decodeHeaderText, defaultName, uploadMediaType, uploadName } from './upload-name.ts';

/** As a header arrives: one character per byte. */
const raw = (text: string) => Buffer.from(text, 'utf8').toString('latin1');

test.each([
  ['attachment; filename=paper.pdf', 'paper.pdf'],
  ['attachment; filename="a b.pdf"', 'a b.pdf'],
  ['attachment; filename="a \\"b\\".pdf"', 'a "b".pdf'],
  ['filename=example.zip', 'example.zip'],
  ['  filename = "example .zip" ', 'example .zip'],
  ['form-data; name="file"; filename="x.zip"', 'x.zip'],
  ["attachment; filename=x; filename*=UTF-8''%e2%82%ac.txt", '€.txt'],
  ["attachment; filename*=UTF-8''%e2%82%ac.txt; filename=x", '€.txt'],
  ["attachment; filename*=iso-8859-1'en'%A3.txt", '£.txt'],
  ["attachment; filename*=UTF-8''%ff; filename=plain.txt", 'plain.txt'],
  ['attachment; filename=my%20file.zip', 'my file.zip'],
  ['attachment; filename="my%20file.zip"', 'my%20file.zip'],
  ['attachment; filename=100%.zip', '100%.zip'],
  [raw('attachment; filename="résumé €.txt"'), 'résumé €.txt'],
  ['attachment; filename="caf\u00e9.txt"', 'café.txt'],
  ['ATTACHMENT; FILENAME=X.PDF', 'X.PDF'],
  ['attachment', 'deposit.zip'],
  ['inline; foo=bar', 'deposit.zip'],
  ['', 'deposit.zip'],
  [null, 'deposit.zip'],
])('%j is %j', (disposition, name) => {
  expect(uploadName(disposition, 'application/zip')).toEqual({ ok: true, name });
});

test.each([
  'attachment; filename=""',
  'attachment; filename=..',
  'attachment; filename=.',
  'attachment; filename="../x"',
  'attachment; filename="a\\\\b"',
  'attachment; filename=%2e%2e%2fx',
  "attachment; filename*=UTF-8''a%00b",
  `attachment; filename=${'n'.repeat(1025)}`,
])('%j is refused in words', (disposition) => {
  const result = uploadName(disposition, 'application/zip');
  expect(result.ok).toBe(false);
  if (!result.ok) expect(result.detail).toContain('1,024 bytes');
});

test.each([
  ['application/pdf', 'application/pdf'],
  [' text/plain; charset=utf-8 ', 'text/plain; charset=utf-8'],
  ['text/plain;charset="utf-8"', 'text/plain;charset="utf-8"'],
  ['application/x-www-form-urlencoded', 'application/octet-stream'],
  ['nonsense', 'application/octet-stream'],
  ['a/b; c', 'application/octet-stream'],
  [`a/${'b'.repeat(300)}`, 'application/octet-stream'],
  ['', 'application/octet-stream'],
  [null, 'application/octet-stream'],
])('type %j is recorded as %j', (header, type) => {
  expect(uploadMediaType(header)).toBe(type);
});

test.each([
  ['application/zip', 'deposit.zip'],
  ['Application/PDF; x=y', 'deposit.pdf'],
  ['application/foo+xml', 'deposit.xml'],
  ['application/ld+json', 'deposit.json'],
  ['application/octet-stream', 'deposit.bin'],
  ['constructor/x', 'deposit.bin'],
])('%s without a name is %s', (type, name) => {
  expect(defaultName(type)).toBe(name);
});

test('text that was decoded already stays', () => {
  expect(decodeHeaderText('論文')).toBe('論文');
  expect(decodeHeaderText('plain')).toBe('plain');
});
