import { AppError } from '../core/errors.ts';

const MOST_BYTES = 64 * 1024;

/** All of standard input as UTF-8 text. Throws AppError `usage` above 64 KiB. */
export async function readStandardInput(): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of Bun.stdin.stream()) {
    size += chunk.byteLength;
    if (size > MOST_BYTES) {
      throw new AppError('usage', 'standard input is longer than 64 KiB. Give one line');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A password from standard input: its first line. Throws AppError `usage` when there is none. */
export async function readPassword(readStdin: () => Promise<string>): Promise<string> {
  const [line = ''] = (await readStdin()).split(/\r?\n/, 1);
  if (line.length < 8) {
    throw new AppError(
      'usage',
      'the password on standard input has fewer than 8 characters. Give a longer one, e.g. twinsite … --password-stdin < FILE',
    );
  }
  return line;
}
