/** Pulls contents from the peer, verifies each, and leaves them as temps ready to be put in place. */
import { type FileHandle, rm } from 'node:fs/promises';
import { z } from 'zod';
import type { ManifestEntry } from '../../../core/manifest.ts';
import type { Exchange, PeerLink } from '../../../core/ports.ts';
import { createSha256, sha256Hex } from '../../../platform/hashing.ts';
import { createTemp, finishTemp, TEMP_DIRECTORY, type Temp, tempName } from '../apply/temps.ts';
import type { FilesContext } from '../scan/context.ts';
import type { HeldDirectory, OpenDirectories } from '../scan/open-directories.ts';
import { GET_PURPOSE } from './contents-server.ts';
import { FRAME, type Frame, readFrames } from './frames.ts';

export type Fetched =
  | { readonly kind: 'temp'; readonly temp: Temp }
  | { readonly kind: 'failed'; readonly reason: string }
  /** The peer cannot give such content; `held` says whether it should have it. */
  | { readonly kind: 'gone'; readonly held: boolean };

const OPEN_TIMEOUT_MS = 5_000;
/** No byte for this long breaks a transfer. */
const STALL_MS = 30_000;
/** Small files are written while others still arrive. */
const WRITES_PARALLEL = 32;
const SMALL_BYTES = 256 * 1024;
const GONE = z.strictObject({ held: z.boolean() });

interface Pull {
  readonly context: FilesContext;
  readonly entries: readonly ManifestEntry[];
  readonly temps: HeldDirectory;
  readonly flush: boolean;
  readonly results: Map<ManifestEntry, Fetched>;
  readonly writes: Set<Promise<void>>;
  arriving: Arriving | null;
}

/** What arrives of one item: in memory while it is small, in its temp from then on. */
interface Arriving {
  readonly item: number;
  readonly parts: Buffer[];
  size: number;
  file: { handle: FileHandle; name: string; hasher: ReturnType<typeof createSha256> } | null;
}

/**
 * Fetches the entries' contents in one exchange; `flush` fsyncs each. An entry without a result was not
 * reached. Rejects with AppError `peer-*` when the exchange breaks; what arrived before stays in `results`.
 */
export async function fetchContents(
  context: FilesContext,
  link: PeerLink,
  directories: OpenDirectories,
  entries: readonly ManifestEntry[],
  flush: boolean,
  results: Map<ManifestEntry, Fetched>,
  signal: AbortSignal,
): Promise<void> {
  const exchange = await link.open(
    GET_PURPOSE,
    { items: entries.length },
    {
      signal,
      timeoutMs: OPEN_TIMEOUT_MS,
    },
  );
  try {
    const wanted = entries.map((entry) => ({
      p: Buffer.from(entry.path, 'latin1').toString('base64'),
      h: entry.hash,
    }));
    await exchange.send(Buffer.from(JSON.stringify(wanted)));
    await exchange.end();
    await directories.use(TEMP_DIRECTORY, async (temps) => {
      const writes = new Set<Promise<void>>();
      const pull: Pull = { context, entries, temps, flush, results, writes, arriving: null };
      try {
        await receive(pull, exchange, signal);
      } finally {
        await Promise.all(pull.writes);
      }
    });
  } finally {
    exchange.abort('done');
  }
}

async function receive(pull: Pull, exchange: Exchange, signal: AbortSignal): Promise<void> {
  const stall = new AbortController();
  let lastMs = pull.context.clock.monotonicMs();
  const watch = (async () => {
    while (!stall.signal.aborted) {
      await pull.context.clock.sleep(STALL_MS / 4, stall.signal);
      if (pull.context.clock.monotonicMs() - lastMs > STALL_MS) exchange.abort('it stalled');
    }
  })();
  const onAbort = () => exchange.abort('stopping');
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for await (const frame of readFrames(exchange.incoming)) {
      lastMs = pull.context.clock.monotonicMs();
      await takeFrame(pull, frame);
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    stall.abort();
    await watch;
    if (pull.arriving?.file) await dropFile(pull, pull.arriving.file);
  }
}

async function takeFrame(pull: Pull, frame: Frame): Promise<void> {
  const entry = pull.entries[frame.item];
  if (!entry || pull.results.has(entry)) return;
  if (pull.arriving?.item !== frame.item) {
    // Items come one after the other; one that was left unfinished is dropped.
    if (pull.arriving?.file) await dropFile(pull, pull.arriving.file);
    pull.arriving = { item: frame.item, parts: [], size: 0, file: null };
  }
  const { arriving } = pull;
  if (frame.kind === FRAME.data) return takeData(pull, arriving, entry, frame.payload);
  pull.arriving = null;
  if (frame.kind === FRAME.end) return takeEnd(pull, arriving, entry);
  if (arriving.file) await dropFile(pull, arriving.file);
  if (frame.kind === FRAME.gone) {
    const parsed = GONE.safeParse(JSON.parse(Buffer.from(frame.payload).toString()));
    pull.results.set(entry, { kind: 'gone', held: parsed.data?.held ?? true });
  } else {
    pull.results.set(entry, { kind: 'failed', reason: 'it changed at the peer while it was sent' });
  }
}

async function takeData(
  pull: Pull,
  arriving: Arriving,
  entry: ManifestEntry,
  payload: Uint8Array,
): Promise<void> {
  arriving.size += payload.length;
  // More than was announced: the hash cannot match, and the disk is not filled with it.
  if (arriving.size > entry.size) return;
  if (!arriving.file && arriving.size <= SMALL_BYTES && entry.size <= SMALL_BYTES) {
    arriving.parts.push(Buffer.from(payload));
    return;
  }
  if (!arriving.file) {
    const name = tempName();
    const handle = await createTemp(pull.temps, name);
    arriving.file = { handle, name, hasher: createSha256() };
  }
  const { handle, hasher } = arriving.file;
  hasher.update(payload);
  await writeAll(handle, payload);
}

async function takeEnd(pull: Pull, arriving: Arriving, entry: ManifestEntry): Promise<void> {
  const { file } = arriving;
  if (!file) {
    const bytes = arriving.parts.length === 1 ? arriving.parts[0] : Buffer.concat(arriving.parts);
    while (pull.writes.size >= WRITES_PARALLEL) await Promise.race(pull.writes);
    const write = writeSmall(pull, entry, bytes ?? Buffer.alloc(0)).finally(() => {
      pull.writes.delete(write);
    });
    pull.writes.add(write);
    return;
  }
  if (arriving.size !== entry.size || file.hasher.hex() !== entry.hash) {
    await dropFile(pull, file);
    pull.results.set(entry, MISMATCH);
    return;
  }
  try {
    const seen = await finishTemp(pull.context, file.handle, entry, pull.flush);
    pull.results.set(entry, { kind: 'temp', temp: { name: file.name, seen } });
  } finally {
    await file.handle.close();
  }
}

const MISMATCH: Fetched = { kind: 'failed', reason: 'the bytes do not match their hash' };

/** Never rejects: a failure is the entry's result. */
async function writeSmall(pull: Pull, entry: ManifestEntry, bytes: Buffer): Promise<void> {
  if (bytes.length !== entry.size || sha256Hex(bytes) !== entry.hash) {
    pull.results.set(entry, MISMATCH);
    return;
  }
  try {
    const temp = await writeTemp(pull.context, pull.temps, entry, bytes, pull.flush);
    pull.results.set(entry, { kind: 'temp', temp });
  } catch (error) {
    pull.results.set(entry, { kind: 'failed', reason: String(error) });
  }
}

/** Bytes that were verified, as a temp. */
export async function writeTemp(
  context: FilesContext,
  temps: HeldDirectory,
  entry: ManifestEntry,
  bytes: Uint8Array,
  flush: boolean,
): Promise<Temp> {
  const name = tempName();
  const handle = await createTemp(temps, name);
  try {
    await writeAll(handle, bytes);
    return { name, seen: await finishTemp(context, handle, entry, flush) };
  } catch (error) {
    await rm(temps.at(name), { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}

async function dropFile(pull: Pull, file: NonNullable<Arriving['file']>): Promise<void> {
  await file.handle.close().catch(() => undefined);
  await rm(pull.temps.at(file.name), { force: true });
}
