/** The one place where an error becomes a line on stderr and an exit code. */
import { CommanderError } from 'commander';
import { ERROR_CODES, type ErrorCode } from '../core/error-codes.ts';
import { AppError, describeError } from '../core/errors.ts';
import type { Output } from './output/terminal.ts';

export const EXIT = { ok: 0, failed: 1, usage: 2, partly: 3, notRunning: 4 } as const;

const USAGE_CODES: ReadonlySet<ErrorCode> = new Set([
  'usage',
  'config',
  'identity-invalid',
  'filestore-invalid',
]);

/** The exit code of the contract for what was thrown. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (!(error instanceof AppError)) return EXIT.failed;
  if (error.code === 'not-running') return EXIT.notRunning;
  return USAGE_CODES.has(error.code) ? EXIT.usage : EXIT.failed;
}

/** `<what>. <what to do>.` on one line; the table's hint serves where the message brings none. */
export function failureText(error: unknown): string {
  const text = describeError(error).trim();
  const sentence = /[.!?]$/.test(text) ? text : `${text}.`;
  if (!(error instanceof AppError) || sentence.slice(0, -1).includes('. ')) return sentence;
  return `${sentence} ${ERROR_CODES[error.code].hint}`;
}

/** Tells what failed, on stderr and with `json` also as a document on stdout; returns the exit code. */
export function reportFailure(error: unknown, output: Output, json: boolean): number {
  const exitCode = exitCodeOf(error);
  // commander has written its own text by now: help on stdout, or one line on stderr.
  if (error instanceof CommanderError) return exitCode;
  output.warn(`twinsite: ${failureText(error)}`);
  if (json) {
    const code = error instanceof AppError ? error.code : 'internal';
    output.json({ error: { code, detail: describeError(error) } });
  }
  return exitCode;
}
