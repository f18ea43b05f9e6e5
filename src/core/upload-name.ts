/**
 * The name and media type of an upload, from the headers that real clients send: tokens and quoted
 * strings, `filename*`, no disposition type at all, UTF-8 or Latin-1 put raw into the header.
 */
import { decodeExtended, parse } from 'content-disposition';
import { checkFileName } from './deposit-path.ts';

export type UploadName =
  | { readonly ok: true; readonly name: string }
  | { readonly ok: false; readonly detail: string };

const EXTENSIONS: Readonly<Record<string, string>> = {
  'application/atom+xml': '.xml',
  'application/epub+zip': '.epub',
  'application/gzip': '.gz',
  'application/json': '.json',
  'application/msword': '.doc',
  'application/pdf': '.pdf',
  'application/postscript': '.ps',
  'application/rtf': '.rtf',
  'application/vnd.oasis.opendocument.text': '.odt',
  'application/vnd.openxmlformats-officedocument.presentationml.presentation': '.pptx',
  'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet': '.xlsx',
  'application/vnd.openxmlformats-officedocument.wordprocessingml.document': '.docx',
  'application/x-bzip2': '.bz2',
  'application/x-gzip': '.gz',
  'application/x-tar': '.tar',
  'application/x-tex': '.tex',
  'application/x-xz': '.xz',
  'application/x-zip-compressed': '.zip',
  'application/xml': '.xml',
  'application/zip': '.zip',
  'application/zstd': '.zst',
  'image/gif': '.gif',
  'image/jpeg': '.jpg',
  'image/png': '.png',
  'image/svg+xml': '.svg',
  'image/tiff': '.tif',
  'text/csv': '.csv',
  'text/html': '.html',
  'text/markdown': '.md',
  'text/plain': '.txt',
  'text/xml': '.xml',
};
const SUFFIXES: readonly (readonly [string, string])[] = [
  ['+xml', '.xml'],
  ['+json', '.json'],
  ['+zip', '.zip'],
  ['+gzip', '.gz'],
];

/** `type/subtype` without parameters, lower case. */
function essence(mediaType: string): string {
  return (mediaType.split(';', 1)[0] ?? '').trim().toLowerCase();
}

const TOKEN = "[A-Za-z0-9!#$%&'*+.^_`|~-]+";
const MEDIA_TYPE = new RegExp(
  `^${TOKEN}/${TOKEN}(\\s*;\\s*${TOKEN}=(${TOKEN}|"[^"\\\\\\x00-\\x1f\\x7f]*"))*$`,
);
const MAX_MEDIA_TYPE_CHARACTERS = 255;

/**
 * The media type to record. What a client sends without having been told (`curl --data-binary` says
 * it sends a form), nothing, or something malformed is `application/octet-stream`.
 */
export function uploadMediaType(header: string | null): string {
  const text = header?.trim() ?? '';
  const usable =
    text.length <= MAX_MEDIA_TYPE_CHARACTERS &&
    MEDIA_TYPE.test(text) &&
    essence(text) !== 'application/x-www-form-urlencoded';
  return usable ? text : 'application/octet-stream';
}

/** `deposit` and the media type's extension. */
export function defaultName(mediaType: string): string {
  const type = essence(mediaType);
  const bySuffix = SUFFIXES.find(([suffix]) => type.endsWith(suffix))?.[1];
  return `deposit${EXTENSIONS[type] ?? bySuffix ?? '.bin'}`;
}

/**
 * Header bytes reach us one character per byte: what is valid UTF-8 was meant as such, the rest is
 * Latin-1. Text that has characters above U+00FF was decoded already.
 */
export function decodeHeaderText(text: string): string {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  if (codes.every((code) => code < 0x80) || codes.some((code) => code > 0xff)) return text;
  const bytes = Uint8Array.from(codes);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return text;
  }
}

/** python's sword2 percent-encodes an unquoted token; a quoted string is taken as it stands. */
function decodeToken(header: string, name: string): string {
  const quoted = /filename\s*=\s*"/i.test(header);
  if (quoted || !/%[0-9A-Fa-f]{2}/.test(name)) return name;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function filenameOf(header: string): string | null {
  // Some clients leave the disposition type out: `Content-Disposition: filename=x.zip`.
  const text = /^\s*[^;="]*=/.test(header) ? `attachment; ${header}` : header;
  const { parameters } = parse(text, { extended: false });
  const extended = parameters['filename*'];
  const decoded = extended === undefined ? undefined : decodeExtended(extended);
  if (decoded !== undefined) return decoded;
  const plain = parameters['filename'];
  return plain === undefined ? null : decodeHeaderText(decodeToken(text, plain));
}

/** The upload's name: from Content-Disposition, or the default for its media type. */
export function uploadName(disposition: string | null, mediaType: string): UploadName {
  const name = (disposition === null ? null : filenameOf(disposition)) ?? defaultName(mediaType);
  // A lone dot could not be addressed: every client takes it out of a URL.
  if (name !== '.' && checkFileName(name) === null) return { ok: true, name };
  const shown = name.length > 80 ? `${name.slice(0, 80)}…` : name;
  return {
    ok: false,
    detail: `${JSON.stringify(shown)} cannot be the name of a file: it must have 1 to 1,024 bytes and hold no "/", "\\", NUL or ".."`,
  };
}
