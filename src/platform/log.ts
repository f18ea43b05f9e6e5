/** Logging through LogTape: JSON lines in a pipe, readable lines on a terminal, always on stderr. */
import { configure, getLogger, type Logger, type LogRecord, type Sink } from '@logtape/logtape';
import type { Log, LogFields, LogLevel } from '../core/ports.ts';

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: 'auto' | 'json' | 'human';
}

const LEVEL_NAMES: Readonly<Record<LogLevel, 'debug' | 'info' | 'warning' | 'error'>> = {
  debug: 'debug',
  info: 'info',
  warn: 'warning',
  error: 'error',
};

function jsonLine(record: LogRecord): string {
  return JSON.stringify({
    time: new Date(record.timestamp).toISOString(),
    level: record.level === 'warning' ? 'warn' : record.level,
    event: record.rawMessage,
    ...record.properties,
  });
}

function humanValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return typeof value === 'string' && /[\s"]/.test(value)
    ? JSON.stringify(value)
    : (text ?? 'null');
}

function humanLine(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString().slice(11, 23);
  const fields = Object.entries(record.properties)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${humanValue(value)}`)
    .join(' ');
  return `${time} ${record.level.slice(0, 4).toUpperCase().padEnd(4)} ${record.rawMessage} ${fields}`;
}

function asLog(logger: Logger): Log {
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (event: string, fields: LogFields = {}) =>
      logger[level](event.replaceAll('{', '{{').replaceAll('}', '}}'), { ...fields });
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => asLog(logger.with({ ...fields })),
  };
}

/** Sets the process's log up, once, and returns its root. */
export async function openLog(options: LogOptions): Promise<Log> {
  const human = options.format === 'human' || (options.format === 'auto' && process.stderr.isTTY);
  const render = human ? humanLine : jsonLine;
  const sink: Sink = (record) => process.stderr.write(`${render(record)}\n`);
  await configure({
    reset: true,
    sinks: { stderr: sink },
    loggers: [
      { category: ['twinsite'], lowestLevel: LEVEL_NAMES[options.level], sinks: ['stderr'] },
      { category: ['logtape', 'meta'], lowestLevel: 'error', sinks: ['stderr'] },
    ],
  });
  return asLog(getLogger(['twinsite']));
}

/** A log that drops everything; for tests and short commands. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};
