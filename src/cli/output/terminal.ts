/** What commands write to: plain in a pipe, colours on a terminal that wants them. */

export interface Output {
  /** One line (or several) on stdout. */
  line(text?: string): void;
  /** Text on stdout as it is. */
  raw(text: string): void;
  /** One line on stderr. */
  warn(text: string): void;
  /** One JSON document on stdout. */
  json(value: unknown): void;
  readonly paint: Paint;
  readonly isTerminal: boolean;
}

export type Colour = 'red' | 'green' | 'yellow' | 'bold' | 'dim';
export type Paint = (colour: Colour, text: string) => string;

const CODES: Readonly<Record<Colour, number>> = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 };

/** No escape codes at all: for pipes, files and NO_COLOR. */
export const plain: Paint = (_colour, text) => text;

const coloured: Paint = (colour, text) => `\u001b[${CODES[colour]}m${text}\u001b[0m`;

export interface OutputStreams {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown };
}

/** Colours only on a terminal, and never with NO_COLOR set to anything. */
export function createOutput(
  streams: OutputStreams,
  env: Readonly<Record<string, string | undefined>>,
): Output {
  const isTerminal = streams.stdout.isTTY === true && env['TERM'] !== 'dumb';
  const wantsColour = isTerminal && (env['NO_COLOR'] ?? '') === '';
  const raw = (text: string) => void streams.stdout.write(text);
  return {
    raw,
    line: (text = '') => raw(`${text}\n`),
    warn: (text) => void streams.stderr.write(`${text}\n`),
    json: (value) => raw(`${JSON.stringify(value, null, isTerminal ? 2 : undefined)}\n`),
    paint: wantsColour ? coloured : plain,
    isTerminal,
  };
}
