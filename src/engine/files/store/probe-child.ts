/**
 * `twinsite internal probe ROOT`: touches one store so that the main process need not. It may hang with
 * a dead mount; its parent then kills it and waits. Everything is synchronous and relative to a handle of
 * the root, opened anew for each question, so that a mount that vanishes between two steps is noticed.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import type { ProbeAnswer, ProbeRequest, StoreLook } from './probe-protocol.ts';

const READ_MAX_BYTES = 16 * 1024;
const MARKER = '.twinsite/store.json';
const EPOCH = '.twinsite/epoch.json';
const FURNITURE = new Set(['lost+found', '.snapshot']);
const LEFTOVER = /^(?:\.store\.json\.[0-9a-f]+\.tmp|lock)$/;

const codeOf = (error: unknown): string => {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? code : 'EUNKNOWN';
};

/** A small regular file's text. A device, a pipe or a link in its place is refused, not opened for long. */
function readSmall(file: string): string {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw Object.assign(new Error('no file'), { code: 'EINVAL' });
    const buffer = Buffer.alloc(READ_MAX_BYTES + 1);
    const length = readSync(fd, buffer, 0, buffer.length, 0);
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

function storeIdOf(marker: string | null): string | null {
  if (marker === null) return null;
  try {
    const id = (JSON.parse(marker) as { storeId?: unknown }).storeId;
    return typeof id === 'string' ? id : null;
  } catch {
    return null;
  }
}

function readMarker(base: string): { text: string | null; error: string | null } {
  try {
    return { text: readSmall(`${base}/${MARKER}`), error: null };
  } catch (error) {
    const code = codeOf(error);
    return { text: null, error: code === 'ENOENT' ? null : code };
  }
}

function isEmpty(base: string): boolean {
  for (const name of readdirSync(base)) {
    if (FURNITURE.has(name)) continue;
    if (name !== '.twinsite') return false;
    if (!readdirSync(`${base}/.twinsite`).every((inner) => LEFTOVER.test(inner))) return false;
  }
  return true;
}

/** Writes, flushes and reads back a nonce. '' or a system code. */
function writeTest(base: string, name: string, device: bigint): string {
  const file = `${base}/.twinsite/${name}`;
  const nonce = randomBytes(16).toString('hex');
  try {
    const fd = openSync(
      file,
      constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
      0o644,
    );
    try {
      if (fstatSync(fd, { bigint: true }).dev !== device) return 'EXDEV';
      if (writeSync(fd, nonce, 0) !== nonce.length) return 'ENOSPC';
      fsyncSync(fd);
      const back = Buffer.alloc(nonce.length);
      readSync(fd, back, 0, back.length, 0);
      return back.toString('utf8') === nonce ? '' : 'EIO';
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return codeOf(error);
  }
}

function look(root: string, base: string, request: ProbeRequest & { op: 'probe' }): StoreLook {
  const stat = statSync(base, { bigint: true });
  const space = statfsSync(base);
  const marker = readMarker(base);
  const expected = request.writeIf !== null && storeIdOf(marker.text) === request.writeIf;
  return {
    device: String(stat.dev),
    inode: String(stat.ino),
    sameDeviceAsRoot: root !== '/' && statSync('/', { bigint: true }).dev === stat.dev,
    fileSystem: space.type,
    freeBytes: space.bavail * space.bsize,
    totalBytes: space.blocks * space.bsize,
    marker: marker.text,
    markerError: marker.error,
    empty: marker.text === null && marker.error === null && isEmpty(base),
    write: expected ? writeTest(base, request.testName, stat.dev) : null,
  };
}

function writeEpoch(base: string, text: string, writeIf: string): void {
  if (storeIdOf(readMarker(base).text) !== writeIf) {
    throw Object.assign(new Error('the store is another one'), { code: 'ESTALE' });
  }
  const temp = `${base}/${EPOCH}.${randomBytes(6).toString('hex')}.tmp`;
  const fd = openSync(temp, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644);
  try {
    writeSync(fd, text, 0);
    fsyncSync(fd);
    // A crash here leaves a temp; the old epoch stays.
    renameSync(temp, `${base}/${EPOCH}`);
  } catch (error) {
    rmSync(temp, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  const directory = openSync(`${base}/.twinsite`, constants.O_RDONLY | constants.O_DIRECTORY);
  fsyncSync(directory);
  closeSync(directory);
}

function readEpoch(base: string): string | null {
  try {
    return readSmall(`${base}/${EPOCH}`);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function answer(root: string, request: ProbeRequest): ProbeAnswer {
  const { id } = request;
  if (request.op === 'ping') return { id, done: true };
  try {
    const handle = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const base = `/proc/self/fd/${handle}`;
      if (request.op === 'probe') return { id, look: look(root, base, request) };
      if (request.op === 'read-epoch') return { id, text: readEpoch(base) };
      writeEpoch(base, request.text, request.writeIf);
      return { id, done: true };
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    return { id, code: codeOf(error), error: error instanceof Error ? error.message : 'failed' };
  }
}

/** Answers until stdin ends. Returns the exit code. */
export async function runProbeChild(args: readonly string[]): Promise<number> {
  const [root] = args;
  if (root === undefined) {
    process.stderr.write('usage: twinsite internal probe ROOT\n');
    return 2;
  }
  // The parent decides when this ends; a Ctrl-C at the terminal reaches the whole group.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of Bun.stdin.stream()) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const reply = answer(root, JSON.parse(line) as ProbeRequest);
      process.stdout.write(`${JSON.stringify(reply)}\n`);
    }
  }
  return 0;
}
