/**
 * Paths inside a store. Names are bytes: a TreePath holds one byte in each UTF-16 unit (latin-1), so
 * that every name is kept exactly and comparing strings compares bytes.
 */

/** A checked path relative to the store, without leading or trailing slash. */
export type TreePath = string & { readonly __brand: 'TreePath' };

/** The store's own directory. */
export const ROOT = '' as TreePath;
/** Never part of the replicated tree: store-private, and where rows are the truth. */
export const PRIVATE_DIRECTORY = '.twinsite';
export const DEPOSITS_DIRECTORY = 'deposits';

const MAX_PATH_BYTES = 16_384;
const MAX_NAME_BYTES = 255;
const SLICE = 4096;

export function latin1FromBytes(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += SLICE) {
    text += String.fromCharCode(...bytes.subarray(at, at + SLICE));
  }
  return text;
}

export function bytesFromLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function isName(name: string): boolean {
  return (
    name !== '' &&
    name !== '.' &&
    name !== '..' &&
    name.length <= MAX_NAME_BYTES &&
    !name.includes('\u0000')
  );
}

/**
 * The path when it stays inside the replicated tree: relative, no empty, `.` or `..` component, no
 * NUL, not in `.twinsite` or `deposits`. Null otherwise: whoever sent it is not believed.
 */
export function checkTreePath(bytes: Uint8Array): TreePath | null {
  if (bytes.length === 0 || bytes.length > MAX_PATH_BYTES) return null;
  const text = latin1FromBytes(bytes);
  const names = text.split('/');
  if (!names.every(isName)) return null;
  if (names[0] === PRIVATE_DIRECTORY || names[0] === DEPOSITS_DIRECTORY) return null;
  return text as TreePath;
}

/** The directory that holds it; ROOT for a name at the top. */
export function parentOf(path: TreePath): TreePath {
  const slash = path.lastIndexOf('/');
  return (slash < 0 ? '' : path.slice(0, slash)) as TreePath;
}

export function nameOf(path: TreePath): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function joinPath(directory: TreePath, name: string): TreePath {
  return (directory === '' ? name : `${directory}/${name}`) as TreePath;
}

/** True when `path` lies anywhere below `directory`. */
export function isBelow(path: TreePath, directory: TreePath): boolean {
  return directory === '' ? path !== '' : path.startsWith(`${directory}/`);
}

/** Number of components; children have more than their parents. */
export function depthOf(path: TreePath): number {
  let depth = path === '' ? 0 : 1;
  for (let i = 0; i < path.length; i += 1) if (path[i] === '/') depth += 1;
  return depth;
}

/** For messages: UTF-8 where it is, U+FFFD where not. Never parsed again. */
export function displayPath(path: string): string {
  return new TextDecoder().decode(bytesFromLatin1(path));
}
