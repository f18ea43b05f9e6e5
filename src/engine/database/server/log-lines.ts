/** PostgreSQL's stderr, line by line, in our log. The prefix is `pid|backend type|sqlstate|`. */
import type { LogLevel } from '../../../core/ports.ts';

export interface ServerLine {
  readonly level: LogLevel;
  readonly severity: string;
  readonly message: string;
  readonly sqlstate: string | null;
  readonly backend: string | null;
}

const LINE = /^(\d+)\|([^|]*)\|([0-9A-Z]{5})\|([A-Z]+\d?):\s+(.*)$/s;
const MAX_LINE = 4_096;
/** Shutdown, start-up and end of a connection on request: expected whenever a site starts or stops. */
const EXPECTED = new Set(['57P01', '57P02', '57P03']);

const LEVELS: Readonly<Record<string, LogLevel>> = {
  INFO: 'info',
  NOTICE: 'debug',
  LOG: 'debug',
  WARNING: 'warn',
  ERROR: 'warn',
  FATAL: 'error',
  PANIC: 'error',
};

/** One line as it goes to the log; lines of other programs (ld.so, libc) come out as warnings. */
export function parseServerLine(line: string): ServerLine {
  const text = line.slice(0, MAX_LINE);
  const match = LINE.exec(text);
  if (!match) {
    const isContinuation = text.startsWith('\t');
    return {
      level: isContinuation ? 'debug' : 'warn',
      severity: isContinuation ? 'CONTINUED' : 'STDERR',
      message: text.trim(),
      sqlstate: null,
      backend: null,
    };
  }
  const [, , backend = '', sqlstate = '', severity = '', message = ''] = match;
  return {
    level: EXPECTED.has(sqlstate) ? 'debug' : (LEVELS[severity] ?? 'debug'),
    severity,
    message,
    sqlstate: sqlstate === '00000' ? null : sqlstate,
    backend: backend === '' ? null : backend,
  };
}

/** Splits a byte stream into lines; an endless line is cut, never kept whole. */
export async function* splitLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = (lines.pop() ?? '').slice(0, 4 * MAX_LINE);
    yield* lines;
  }
  if (rest !== '') yield rest;
}
