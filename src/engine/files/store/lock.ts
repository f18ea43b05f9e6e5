/** One process for one --data and one store: advisory locks that die with the process. */
import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';
import { tryLock } from '../../../platform/libc.ts';

export interface HeldLock {
  release(): void;
}

/**
 * Locks `file`, making it when missing. `what` names it to a person. Throws AppError `data-locked` with
 * the holder's pid, or `no-permission`.
 */
export function takeLock(file: string, what: string): HeldLock {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o644);
  } catch (error) {
    const code = systemCode(error);
    const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    throw new AppError(
      denied ? 'no-permission' : 'store-failed',
      `${file} cannot be opened for locking: ${describeError(error)}.`,
      { cause: error },
    );
  }
  if (!tryLock(fd)) {
    const holder = readFileSync(fd, 'utf8').slice(0, 100).trim();
    closeSync(fd);
    throw new AppError(
      'data-locked',
      `${what} is in use by ${/^\d+$/.test(holder) ? `process ${holder}` : 'another process'}: stop it, or use another directory.`,
    );
  }
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`, 0);
  let held = true;
  return {
    release: () => {
      if (held) closeSync(fd);
      held = false;
    },
  };
}

/** Locks --data against a second process. Throws AppError `data-locked`. */
export function takeDataLock(dataDir: string): HeldLock {
  return takeLock(path.join(dataDir, 'lock'), `--data ${dataDir}`);
}
