/** Gives the peer the bytes it asks for by hash, from wherever they lie here. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { z } from 'zod';
import { AppError, systemCode } from '../../../core/errors.ts';
import type { Exchange } from '../../../core/ports.ts';
import { observedToken } from '../../../core/scan-judgement.ts';
import {
  checkTreePath,
  nameOf,
  PRIVATE_DIRECTORY,
  parentOf,
  type TreePath,
} from '../../../core/tree-path.ts';
import { observeHandle } from '../scan/content.ts';
import type { FilesContext } from '../scan/context.ts';
import { OpenDirectories } from '../scan/open-directories.ts';
import { FRAME, FrameSender } from './frames.ts';

export const GET_PURPOSE = 'files-get';
export const MAX_ITEMS = 2_048;
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
const PIECE_BYTES = 256 * 1024;
/** Files up to this size are read several at once. */
const SMALL_BYTES = 64 * 1024;
const READ_AHEAD = 16;

const REQUEST = z
  .array(z.strictObject({ p: z.base64().max(24_000), h: z.string().regex(/^[0-9a-f]{64}$/) }))
  .max(MAX_ITEMS);

interface Wanted {
  readonly path: TreePath | null;
  readonly hash: string;
}

/** A file opened for sending; the token says how it must still look at the end. */
interface Source {
  readonly handle: FileHandle;
  readonly size: number;
  readonly token: string;
}

type Prepared =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'source'; readonly source: Source }
  | { readonly kind: 'gone'; readonly held: boolean }
  | { readonly kind: 'changed' };

/** Serves one exchange: a JSON list of wanted contents, answered in order. */
export async function serveContents(context: FilesContext, exchange: Exchange): Promise<void> {
  const wanted = await readRequest(exchange);
  const sender = new FrameSender((bytes) => exchange.send(bytes));
  await using directories = new OpenDirectories(context.store);
  for (let at = 0; at < wanted.length; at += READ_AHEAD) {
    const group = wanted.slice(at, at + READ_AHEAD);
    const prepared = await Promise.all(group.map((item) => prepare(context, directories, item)));
    try {
      for (const [offset, item] of prepared.entries()) await sendOne(sender, at + offset, item);
    } finally {
      for (const item of prepared) if (item.kind === 'source') await item.source.handle.close();
    }
  }
  await sender.flush();
  await exchange.end();
}

async function readRequest(exchange: Exchange): Promise<readonly Wanted[]> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of exchange.incoming) {
    size += chunk.length;
    if (size > MAX_REQUEST_BYTES) throw new AppError('bad-request', 'a list of files is too long');
    parts.push(Uint8Array.from(chunk));
  }
  const parsed = REQUEST.safeParse(JSON.parse(Buffer.concat(parts).toString()));
  if (!parsed.success) throw new AppError('bad-request', 'a malformed list of files');
  return parsed.data.map(({ p, h }) => ({
    path: checkTreePath(Buffer.from(p, 'base64')),
    hash: h,
  }));
}

/** Where the content may lie: at the path asked for, under other names, in trash and conflict copies. */
function* places(context: FilesContext, { path, hash }: Wanted): Generator<TreePath> {
  const { index } = context;
  const row = path === null ? null : index.get(path);
  if (path !== null && row && !row.entry.deleted && !row.missing && row.entry.hash === hash) {
    yield path;
  }
  for (const other of index.withHash(hash)) {
    if (other.entry.path !== path) yield other.entry.path;
  }
  for (const kept of index.kept.withHash(hash)) yield kept.place;
}

async function prepare(
  context: FilesContext,
  directories: OpenDirectories,
  wanted: Wanted,
): Promise<Prepared> {
  let changed = false;
  for (const place of places(context, wanted)) {
    const source = await openSource(context, directories, place);
    if (source === null) {
      changed = true;
      continue;
    }
    if (source.size > SMALL_BYTES) return { kind: 'source', source };
    try {
      const bytes = Buffer.allocUnsafe(source.size);
      const { bytesRead } = await source.handle.read(bytes, 0, source.size, 0);
      if (bytesRead === source.size && (await isUnchanged(source))) return { kind: 'bytes', bytes };
      changed = true;
    } finally {
      await source.handle.close();
    }
  }
  if (changed) return { kind: 'changed' };
  // Before the first scan is over nobody can say that it is not here.
  return { kind: 'gone', held: !context.figures.scanned || context.index.claims(wanted.hash) };
}

/** Null when what lies there is not what the index says. */
async function openSource(
  context: FilesContext,
  directories: OpenDirectories,
  place: TreePath,
): Promise<Source | null> {
  const isPrivate = place.startsWith(`${PRIVATE_DIRECTORY}/`);
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let handle: FileHandle | null = null;
  try {
    handle = await directories.use(parentOf(place), (parent) =>
      open(parent.at(nameOf(place)), flags),
    );
    const seen = await observeHandle(handle);
    const expected = isPrivate ? null : context.index.seenOf(place);
    const token = seen ? observedToken(seen) : '';
    if (seen?.type === 'file' && (expected === null || expected.replace(/^~/, '') === token)) {
      return { handle, size: seen.size, token };
    }
  } catch (error) {
    context.log.debug('files.source-unreadable', { path: place, code: systemCode(error) });
  }
  await handle?.close();
  if (!isPrivate) context.candidates.add(place, 'hint');
  return null;
}

async function isUnchanged(source: Source): Promise<boolean> {
  const after = await observeHandle(source.handle);
  return after !== null && observedToken(after) === source.token;
}

async function sendOne(sender: FrameSender, item: number, prepared: Prepared): Promise<void> {
  if (prepared.kind === 'bytes') {
    await sender.frame(FRAME.data, item, prepared.bytes);
    return sender.frame(FRAME.end, item);
  }
  if (prepared.kind === 'changed') return sender.frame(FRAME.changed, item);
  if (prepared.kind === 'gone') {
    return sender.frame(FRAME.gone, item, Buffer.from(JSON.stringify({ held: prepared.held })));
  }
  const { source } = prepared;
  for (let offset = 0; offset < source.size; ) {
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, source.size - offset));
    const { bytesRead } = await source.handle.read(piece, 0, piece.length, offset);
    if (bytesRead === 0) break;
    await sender.frame(FRAME.data, item, piece.subarray(0, bytesRead));
    offset += bytesRead;
  }
  return sender.frame((await isUnchanged(source)) ? FRAME.end : FRAME.changed, item);
}
