import { expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  createFrameReader,
  DATA,
  END,
  encodeFrame,
  type FrameKind,
  HELLO,
  OPEN,
  PING,
} from './frames.ts';
import { MAX_FRAME_BYTES, MAX_HELLO_BYTES } from './limits.ts';

interface Seen {
  readonly kind: FrameKind;
  readonly bytes: number[];
}

/** Reads a stream cut at the given places; neighbouring data is joined, as nothing promises its cuts. */
function readCut(stream: Uint8Array, cuts: readonly number[]): Seen[] {
  const seen: Seen[] = [];
  const reader = createFrameReader({
    data(bytes) {
      const last = seen.at(-1);
      if (last?.kind === DATA) last.bytes.push(...bytes);
      else seen.push({ kind: DATA, bytes: [...bytes] });
    },
    control: (kind, payload) => seen.push({ kind, bytes: [...payload] }),
  });
  let from = 0;
  for (const cut of [...cuts, stream.length].sort((a, b) => a - b)) {
    expect(reader.push(stream.subarray(from, cut))).toBeNull();
    from = cut;
  }
  return seen;
}

test('frames come out as they went in, however the stream is cut', () => {
  const frame = fc.oneof(
    fc.record({
      kind: fc.constantFrom(HELLO, OPEN, DATA),
      bytes: fc.uint8Array({ maxLength: 300 }),
    }),
    fc.record({ kind: fc.constantFrom(END, PING), bytes: fc.constant(new Uint8Array()) }),
  );
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 12 }),
      fc.array(fc.nat(4000), { maxLength: 30 }),
      (frames, cuts) => {
        const stream = Buffer.concat(frames.map(({ kind, bytes }) => encodeFrame(kind, bytes)));
        const expected: Seen[] = [];
        for (const { kind, bytes } of frames) {
          const last = expected.at(-1);
          if (kind === DATA && bytes.length === 0) continue;
          if (kind === DATA && last?.kind === DATA) last.bytes.push(...bytes);
          else expected.push({ kind, bytes: [...bytes] });
        }
        expect(
          readCut(
            stream,
            cuts.map((cut) => Math.min(cut, stream.length)),
          ),
        ).toEqual(expected);
      },
    ),
  );
});

test.each([
  ['an unknown kind', [0, 0, 0, 0, 99], 'unknown frame kind'],
  ['a data frame over the limit', [0, 0x10, 0, 1, DATA], `${MAX_FRAME_BYTES + 1} bytes`],
  ['a hello over the limit', [0, 0, 0x40, 1, HELLO], `${MAX_HELLO_BYTES + 1} bytes`],
  ['an end with a payload', [0, 0, 0, 1, END], '1 bytes'],
  ['4 GiB', [255, 255, 255, 255, OPEN], 'bytes where'],
] as const)('refuses %s before it allocates', (_name, bytes, text) => {
  const reader = createFrameReader({ data: () => undefined, control: () => undefined });
  expect(reader.push(new Uint8Array(bytes))).toContain(text);
});
