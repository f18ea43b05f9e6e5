/**
 * Directories of the store, opened one component at a time without following a symlink and without
 * leaving the store's device, so that no path, however a name in it is swapped, leads outside.
 */
import { constants, type FileHandle, mkdir, open } from 'node:fs/promises';
import { systemCode } from '../../../core/errors.ts';
import type { OwnStore } from '../../../core/ports.ts';
import { joinPath, nameOf, parentOf, ROOT, type TreePath } from '../../../core/tree-path.ts';

const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const MAX_OPEN = 96;

interface OpenDirectory {
  readonly handle: Promise<FileHandle>;
  users: number;
}

/** A directory held open; valid only while the callback of use() runs. */
export interface HeldDirectory {
  /** The path of a name in it, for calls that take paths. */
  at(name: string): Buffer;
  /** The directory itself. */
  readonly self: Buffer;
  readonly handle: FileHandle;
}

function held(handle: FileHandle): HeldDirectory {
  const prefix = Buffer.from(`/proc/self/fd/${handle.fd}/`);
  return {
    at: (name) => Buffer.concat([prefix, Buffer.from(name, 'latin1')]),
    self: prefix.subarray(0, prefix.length - 1),
    handle,
  };
}

/** For one batch of work: close() it soon, because a directory may be renamed meanwhile. */
export class OpenDirectories implements AsyncDisposable {
  readonly #store: OwnStore;
  readonly #open = new Map<TreePath, OpenDirectory>();
  #device: bigint | null = null;

  constructor(store: OwnStore) {
    this.#store = store;
  }

  /**
   * Runs `work` with the directory held open. Rejects with the system's code: ENOENT when it is not
   * there, ENOTDIR when a component is something else, EXDEV when it lies on another device.
   */
  async use<T>(
    directory: TreePath,
    work: (directory: HeldDirectory) => Promise<T> | T,
  ): Promise<T> {
    const entry = this.#obtain(directory);
    entry.users += 1;
    try {
      return await work(held(await entry.handle));
    } finally {
      entry.users -= 1;
    }
  }

  /** Makes the directory and missing parents; `onMade` hears of each that did not exist. */
  async ensure(directory: TreePath, onMade: (made: TreePath) => void, mode = 0o755): Promise<void> {
    if (directory === ROOT) return;
    try {
      await this.use(directory, () => undefined);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      await this.ensure(parentOf(directory), onMade, mode);
      await this.use(parentOf(directory), async (parent) => {
        try {
          await mkdir(parent.at(nameOf(directory)), { mode });
          onMade(directory);
        } catch (failure) {
          if (systemCode(failure) !== 'EEXIST') throw failure;
        }
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const handles = [...this.#open.values()].map((entry) => entry.handle);
    this.#open.clear();
    await Promise.all(
      handles.map((handle) => handle.then((opened) => opened.close()).catch(() => undefined)),
    );
  }

  #obtain(directory: TreePath): OpenDirectory {
    const known = this.#open.get(directory);
    if (known) {
      // Most recently used last.
      this.#open.delete(directory);
      this.#open.set(directory, known);
      return known;
    }
    const entry = { handle: this.#openChain(directory), users: 0 };
    entry.handle.catch(() => {
      if (this.#open.get(directory) === entry) this.#open.delete(directory);
    });
    this.#open.set(directory, entry);
    this.#shrink(directory);
    return entry;
  }

  async #openChain(directory: TreePath): Promise<FileHandle> {
    const handle =
      directory === ROOT
        ? await open(this.#store.at('.'), constants.O_RDONLY | constants.O_DIRECTORY)
        : await this.use(parentOf(directory), (parent) =>
            open(parent.at(nameOf(directory)), FLAGS),
          );
    try {
      const { dev } = await handle.stat({ bigint: true });
      this.#device ??= directory === ROOT ? dev : null;
      if (this.#device !== null && dev !== this.#device) {
        throw Object.assign(new Error('the directory lies on another device'), { code: 'EXDEV' });
      }
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  #shrink(keep: TreePath): void {
    if (this.#open.size <= MAX_OPEN) return;
    for (const [path, entry] of this.#open) {
      if (entry.users > 0 || path === keep || path === ROOT) continue;
      this.#open.delete(path);
      entry.handle.then((handle) => handle.close()).catch(() => undefined);
      return;
    }
  }
}

/** A path below the private directory, for parts that know it is not the peer's. */
export function privatePath(...names: readonly string[]): TreePath {
  return names.reduce<TreePath>((path, name) => joinPath(path, name), '.twinsite' as TreePath);
}
