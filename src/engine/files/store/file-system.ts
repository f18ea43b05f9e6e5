/** What kind of file system lies below a path, and whether it may carry --data. */
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';
import { AppError, describeError, systemCode } from '../../../core/errors.ts';

/** From statfs(2); see linux/magic.h. */
const SHARED: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'SMB',
  4266872130: 'SMB',
  18225520: 'GFS2',
  1952539503: 'OCFS2',
  12805120: 'Ceph',
  1196443219: 'GPFS',
  198183888: 'Lustre',
  1397113167: 'AFS',
  16914839: '9p',
  1702057286: 'FUSE',
};
const LOCAL: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'XFS',
  2435016766: 'Btrfs',
};

/** `NFS`, `ext4`, …; the number in hex when it is not in the tables. */
export function fileSystemName(type: number): string {
  const unsigned = type >>> 0;
  return SHARED[unsigned] ?? LOCAL[unsigned] ?? `0x${unsigned.toString(16)}`;
}

/** True for a file system that two kernels would destroy when both mount it. */
export function isSingleHostFileSystem(type: number): boolean {
  return LOCAL[type >>> 0] !== undefined;
}

/**
 * Makes --data when it is missing (0700) and makes sure that it can carry index, database and locks.
 * Throws AppError `config` for NFS and SMB and for a path that is no directory, `no-permission` when it
 * cannot be written.
 */
export async function checkDataDirectory(directory: string): Promise<void> {
  try {
    await fs.mkdir(directory, { recursive: true, mode: 0o700 });
    const { type } = await fs.statfs(directory);
    const name = fileSystemName(type);
    if (name === 'NFS' || name === 'SMB') {
      throw new AppError(
        'config',
        `--data ${directory} is on ${name}, where a database and its locks are not safe. Give a directory on a local disk.`,
      );
    }
    await fs.access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof AppError) throw error;
    const code = systemCode(error);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      throw new AppError(
        'no-permission',
        `--data ${directory} cannot be made or written by user ${process.getuid?.() ?? '?'}: give it that directory (parent: ${path.dirname(directory)}).`,
        { cause: error },
      );
    }
    if (code === 'ENOTDIR' || code === 'EEXIST') {
      throw new AppError('config', `--data ${directory} is no directory: give another path.`);
    }
    throw new AppError('config', `--data ${directory} cannot be used: ${describeError(error)}.`);
  }
}
