import { expect, test } from 'bun:test';
import { createEvidence } from './evidence.ts';

function setUp() {
  const time = { now: 0, heard: 0 as number | null };
  const evidence = createEvidence({
    monotonicMs: () => time.now,
    lastHeardMs: () => time.heard,
    freshMs: 1_500,
  });
  return { time, evidence };
}

test('nothing is believed before the first answer', () => {
  const { evidence } = setUp();
  expect(evidence.isAnswering()).toBe(false);
  evidence.answered();
  expect(evidence.isAnswering()).toBe(true);
});

test('a silent peer is not answering, and is again once heard', () => {
  const { time, evidence } = setUp();
  evidence.answered();
  time.now = 1_501;
  expect(evidence.isAnswering()).toBe(false);
  time.heard = 1_400;
  expect(evidence.isAnswering()).toBe(true);
  time.heard = null;
  expect(evidence.isAnswering()).toBe(false);
});

test('a failure counts until the next answer', () => {
  const { evidence } = setUp();
  evidence.answered();
  evidence.failed();
  expect(evidence.isAnswering()).toBe(false);
  evidence.answered();
  expect(evidence.isAnswering()).toBe(true);
});

test('a deposit that waited in vain is made up for by an attested one only', () => {
  const { evidence } = setUp();
  evidence.answered();
  evidence.late();
  evidence.answered();
  expect(evidence.isAnswering()).toBe(false);
  evidence.attested();
  expect(evidence.isAnswering()).toBe(true);
});
