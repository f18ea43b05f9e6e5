import { expect, test } from 'bun:test';
import fc from 'fast-check';
import type { Exchange } from '../../../core/ports.ts';
import { encodeData, encodeMessage, receive } from './wire.ts';

function exchangeOf(pieces: readonly Uint8Array[]): Exchange {
  async function* incoming() {
    yield* pieces;
  }
  return {
    header: null,
    send: () => Promise.resolve(),
    end: () => Promise.resolve(),
    incoming: incoming(),
    abort: () => undefined,
    closed: Promise.resolve(),
  };
}

async function readAll(pieces: readonly Uint8Array[]) {
  const data: Uint8Array[] = [];
  const messages: unknown[] = [];
  for await (const record of receive(exchangeOf(pieces))) {
    if (record.kind === 'data') data.push(record.bytes.slice());
    else messages.push(record.value);
  }
  return { data: Buffer.concat(data), messages };
}

const item = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => ({ bytes })),
  fc.jsonValue().map((json) => ({ message: JSON.parse(JSON.stringify(json)) })),
);

test('records arrive as they were sent, however the link cuts them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(item), fc.integer({ min: 1, max: 64 }), async (items, cut) => {
      const stream = Buffer.concat(
        items.map((one) => ('bytes' in one ? encodeData([one.bytes]) : encodeMessage(one.message))),
      );
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += cut) pieces.push(stream.subarray(at, at + cut));
      const { data, messages } = await readAll(pieces);
      const sent = items.flatMap((one) => ('bytes' in one ? [one.bytes] : []));
      expect(data.equals(Buffer.concat(sent))).toBe(true);
      expect(messages).toEqual(items.flatMap((one) => ('bytes' in one ? [] : [one.message])));
    }),
  );
});

test.each([
  ['unknown type', [7, 0, 0, 0, 0]],
  ['endless message', [2, 0, 1, 0, 1]],
  ['endless data', [1, 255, 0, 0, 0]],
  ['no JSON', [2, 0, 0, 0, 1, 0x7b]],
  ['no UTF-8', [2, 0, 0, 0, 3, 0x22, 0xff, 0x22]],
  ['ends in a head', [1, 0, 0]],
  ['ends in data', [1, 0, 0, 0, 9, 1]],
])('%s is refused', async (_, bytes) => {
  let code = 'none';
  try {
    await readAll([new Uint8Array(bytes)]);
  } catch (error) {
    code = (error as { code: string }).code;
  }
  expect(code).toBe('peer-refused');
});
