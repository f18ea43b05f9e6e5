/**
 * The archives inside the binary: one zstd stream of [length, JSON list of entries, contents in order].
 * Made by the build, unpacked at the first start, streamed both times so that neither holds a tree in
 * memory. (tar would need a reader for its dialects; both ends of this are here.)
 */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { AppError } from '../core/errors.ts';

const MAGIC = 'TWPK1\n';
const MAX_INDEX_BYTES = 4 * 1024 * 1024;

const ENTRY = z.strictObject({
  /** Relative, never with `..`; directories before what they hold. */
  path: z.string().regex(/^(?!.*(^|\/)\.\.?(\/|$))[^/\0][^\0]*$/),
  mode: z.int().min(0).max(0o7777),
  /** Bytes that follow; null for a directory. */
  size: z.int().min(0).nullable(),
});
const INDEX = z.array(ENTRY).max(100_000);

export type ArchiveEntry = z.infer<typeof ENTRY>;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Entries of a tree as they would be packed: sorted by path, directories before their content. */
export async function listTree(root: string): Promise<ArchiveEntry[]> {
  const names = await fs.readdir(root, { recursive: true });
  const entries: ArchiveEntry[] = [];
  for (const name of names.sort()) {
    const stat = await fs.stat(path.join(root, name));
    entries.push({
      path: name,
      mode: stat.mode & 0o7777,
      size: stat.isDirectory() ? null : stat.size,
    });
  }
  return entries;
}

/** The uncompressed archive of `entries`, whose bytes are below `root`. Symbolic links are followed. */
export async function packTree(
  root: string,
  entries: readonly ArchiveEntry[],
): Promise<Uint8Array<ArrayBuffer>> {
  const index = new TextEncoder().encode(JSON.stringify(entries));
  const parts: Uint8Array<ArrayBuffer>[] = [
    new TextEncoder().encode(MAGIC),
    new Uint8Array(new Uint32Array([index.length]).buffer),
    index,
  ];
  for (const entry of entries) {
    if (entry.size === null) continue;
    const bytes = await fs.readFile(path.join(root, entry.path));
    if (bytes.length !== entry.size) throw new Error(`${entry.path} changed while it was packed`);
    parts.push(bytes);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Gives out a stream's bytes in the amounts asked for. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** At least one byte and at most `limit`; throws at the end of the stream. */
  async some(limit: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#source.next();
      if (done) throw new AppError('internal', 'An archive inside the program ends too early.');
      this.#rest = value;
    }
    const bytes = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(bytes.length);
    return bytes;
  }

  async exactly(count: number): Promise<Uint8Array> {
    const out = new Uint8Array(count);
    for (let filled = 0; filled < count; ) {
      const bytes = await this.some(count - filled);
      out.set(bytes, filled);
      filled += bytes.length;
    }
    return out;
  }
}

async function readIndex(reader: ByteReader): Promise<readonly ArchiveEntry[]> {
  const magic = new TextDecoder().decode(await reader.exactly(MAGIC.length));
  const length = new DataView((await reader.exactly(4)).buffer).getUint32(0, true);
  if (magic !== MAGIC || length > MAX_INDEX_BYTES) {
    throw new AppError('internal', 'An archive inside the program is damaged: copy it here again.');
  }
  return INDEX.parse(JSON.parse(new TextDecoder().decode(await reader.exactly(length))));
}

/**
 * Unpacks into `directory`, which must exist and be empty. Nothing is flushed: the caller syncs once.
 * Throws system errors (ENOSPC, EACCES) as they come and AppError `internal` for a damaged archive.
 */
export async function unpackArchive(
  compressed: ReadableStream<Uint8Array>,
  directory: string,
  owner: Owner | null,
): Promise<void> {
  const plain = compressed.pipeThrough(
    new DecompressionStream('zstd') as unknown as ReadableWritablePair<Uint8Array, Uint8Array>,
  );
  const reader = new ByteReader(plain);
  for (const entry of await readIndex(reader)) {
    const target = path.join(directory, entry.path);
    if (entry.size === null) {
      await fs.mkdir(target, { mode: entry.mode });
      if (owner) await fs.chown(target, owner.uid, owner.gid);
      continue;
    }
    const handle = await fs.open(target, 'wx', entry.mode);
    try {
      for (let left = entry.size; left > 0; ) {
        const bytes = await reader.some(left);
        for (let at = 0; at < bytes.length; ) {
          at += (await handle.write(bytes, at)).bytesWritten;
        }
        left -= bytes.length;
      }
      // open(2) applied the umask; what runs and reads these files is another user.
      await handle.chmod(entry.mode);
      if (owner) await handle.chown(owner.uid, owner.gid);
    } finally {
      await handle.close();
    }
  }
}
