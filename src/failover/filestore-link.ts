/** The symlink that applications use. It changes by one rename(2) and is never missing once it was there. */
import { randomBytes } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import type { Clock, Log } from '../core/ports.ts';
import { isUsable, type StoreCheck } from '../core/store-guard.ts';
import { fsyncDirectory } from '../platform/durable.ts';

/** A check older than this proves nothing any more. */
export const CHECK_VALID_MS = 1_000;

/** What is at the path now. */
export type LinkState =
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'missing' };

export interface FilestoreLink {
  readonly path: string;
  /**
   * Removes temps of an earlier process, makes the last change durable and makes sure that changes
   * are possible. Throws AppError `filestore-invalid`, `no-permission` or `config`.
   */
  prepare(): Promise<void>;
  /** Throws AppError `filestore-invalid` when something else than a link is there. */
  inspect(): Promise<LinkState>;
  /**
   * Makes the link name the store of a fresh check. Durable and read back when it resolves. Throws
   * AppError `store-failed` when the check is bad or old, `filestore-invalid`, `no-permission`.
   */
  point(check: StoreCheck): Promise<{ readonly changed: boolean; readonly before: string | null }>;
}

export interface FilestoreLinkOptions {
  readonly path: string;
  readonly ownStore: string;
  readonly clock: Clock;
  readonly log: Log;
  /** For tests: called at each crash point. */
  readonly crashPoint?: (name: string) => void;
}

function invalid(link: string, store: string, what: string): AppError {
  return new AppError(
    'filestore-invalid',
    `--filestore ${link} is ${what} and must be a symbolic link. With the applications stopped, either set it aside: mv ${link} ${link}.before && ln -s ${store} ${link} — or make it the store: mv ${link} ${store} && twinsite store init ${store} --adopt && ln -s ${store} ${link}`,
  );
}

class Link implements FilestoreLink {
  readonly path: string;
  private readonly options: FilestoreLinkOptions;
  private readonly parent: string;
  private readonly tempPrefix: string;

  constructor(options: FilestoreLinkOptions) {
    this.options = options;
    this.path = path.resolve(options.path);
    this.parent = path.dirname(this.path);
    this.tempPrefix = `.${path.basename(this.path)}.twinsite-`;
  }

  async prepare(): Promise<void> {
    const { ownStore } = this.options;
    if (ownStore === this.path || ownStore.startsWith(`${this.path}/`)) {
      throw new AppError(
        'config',
        `--store ${ownStore} leads through --filestore ${this.path}: give the store's own path.`,
      );
    }
    try {
      await fs.access(this.parent, constants.W_OK | constants.X_OK);
      for (const name of await fs.readdir(this.parent)) {
        if (name.startsWith(this.tempPrefix)) await fs.rm(path.join(this.parent, name));
      }
      await this.inspect();
      // A process that died between rename and fsync left a change that a power cut could undo.
      await fsyncDirectory(this.parent);
    } catch (error) {
      throw this.translate(error);
    }
  }

  async inspect(): Promise<LinkState> {
    try {
      return { kind: 'link', target: await fs.readlink(this.path) };
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT') return { kind: 'missing' };
      if (code !== 'EINVAL') throw this.translate(error);
      const stat = await fs.lstat(this.path);
      throw invalid(
        this.path,
        this.options.ownStore,
        stat.isDirectory() ? 'a directory' : 'a file',
      );
    }
  }

  async point(check: StoreCheck): Promise<{ changed: boolean; before: string | null }> {
    const ageMs = this.options.clock.monotonicMs() - check.atMs;
    if (!isUsable(check) || ageMs > CHECK_VALID_MS) {
      throw new AppError(
        'store-failed',
        `${this.path} is not pointed at ${check.root}: ${check.reason ?? `its check is ${Math.round(ageMs)} ms old`}.`,
      );
    }
    const state = await this.inspect();
    const before = state.kind === 'link' ? state.target : null;
    if (before === check.root) return { changed: false, before };
    try {
      await this.replace(check.root);
    } catch (error) {
      throw this.translate(error);
    }
    const after = await this.inspect();
    if (after.kind !== 'link' || after.target !== check.root) {
      throw new AppError('filestore-invalid', `${this.path} was changed by somebody else.`);
    }
    return { changed: true, before };
  }

  private async replace(target: string): Promise<void> {
    const temp = path.join(this.parent, `${this.tempPrefix}${randomBytes(6).toString('hex')}`);
    await fs.symlink(target, temp);
    // A crash here leaves a temp that the next start removes; the link is as it was.
    this.options.crashPoint?.('link:temp-made');
    try {
      await fs.rename(temp, this.path);
    } catch (error) {
      await fs.rm(temp, { force: true });
      throw error;
    }
    // A crash here: the link is changed, and a power cut may undo it; the next start asserts it again.
    this.options.crashPoint?.('link:renamed');
    await fsyncDirectory(this.parent);
  }

  private translate(error: unknown): AppError {
    if (error instanceof AppError) return error;
    const code = systemCode(error);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      return new AppError(
        'no-permission',
        `User ${process.getuid?.() ?? '?'} cannot change ${this.path}: it needs the right to write in ${this.parent}.`,
        { cause: error },
      );
    }
    if (code === 'EISDIR' || code === 'ENOTEMPTY' || code === 'EEXIST') {
      return invalid(this.path, this.options.ownStore, 'a directory');
    }
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return new AppError(
        'config',
        `--filestore ${this.path}: the directory ${this.parent} does not exist. Make it, or correct the path.`,
        { cause: error },
      );
    }
    return new AppError('filestore-invalid', `${this.path}: ${describeError(error)}.`, {
      cause: error,
    });
  }
}

/** Touches nothing yet. */
export function createFilestoreLink(options: FilestoreLinkOptions): FilestoreLink {
  return new Link(options);
}
