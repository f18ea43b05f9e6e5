import { describe, expect, test } from 'bun:test';
import { parseServerLine, splitLines } from './log-lines.ts';

describe("the server's log", () => {
  test.each([
    ['1|postmaster|00000|LOG:  ready', 'debug', 'ready', null],
    ['1|client backend|23505|ERROR:  duplicate key', 'warn', 'duplicate key', '23505'],
    ['1|startup|58P01|FATAL:  gone', 'error', 'gone', '58P01'],
    ['1|client backend|57P03|FATAL:  starting up', 'debug', 'starting up', '57P03'],
    ['1|checkpointer|53100|PANIC:  full', 'error', 'full', '53100'],
    ['1|x|01000|WARNING:  careful', 'warn', 'careful', '01000'],
    ['1|x|00000|DEBUG2:  chatter', 'debug', 'chatter', null],
    [
      'postgres: error while loading shared libraries',
      'warn',
      'postgres: error while loading shared libraries',
      null,
    ],
    ['\tsecond line', 'debug', 'second line', null],
  ])('%s', (line, level, message, sqlstate) => {
    expect(parseServerLine(line)).toMatchObject({ level, message, sqlstate });
  });

  test('is split into lines, whatever the pieces; an endless one is cut', async () => {
    const pieces = ['a\nb', 'c\n\n', 'x'.repeat(100_000), 'tail'];
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
        controller.close();
      },
    });
    const lines: string[] = [];
    for await (const line of splitLines(stream)) lines.push(line);
    expect(lines.slice(0, 3)).toEqual(['a', 'bc', '']);
    expect(lines[3]?.length).toBeLessThan(20_000);
  });
});
