import { describe, expect, test } from 'bun:test';
import { HELLO_MAGIC, type Hello, judgeHello, type KnownStart } from './hello.ts';

const hello = (changes: Partial<Hello> = {}): Hello => ({
  magic: HELLO_MAGIC,
  protocol: 3,
  version: '1.3.0',
  pairId: 'pair-1',
  site: 'b',
  instanceId: 'instance-b',
  startCounter: 10,
  certificateProof: '',
  ...changes,
});
const own = hello({ site: 'a', instanceId: 'instance-a' });
const judge = (raw: unknown, known: KnownStart | null = null) => judgeHello(raw, own, 'b', known);
const reason = (raw: unknown, known: KnownStart | null = null) => {
  const verdict = judge(raw, known);
  return verdict.ok ? 'ok' : verdict.reason;
};

describe('judgeHello', () => {
  test.each([
    ['the peer', hello(), 'ok'],
    ['the next protocol', hello({ protocol: 4 }), 'ok'],
    ['the protocol before', hello({ protocol: 2 }), 'ok'],
    ['two protocols on', hello({ protocol: 5 }), 'protocol'],
    ['two protocols back', hello({ protocol: 1 }), 'protocol'],
    ['another pair', hello({ pairId: 'pair-2' }), 'other-pair'],
    ['its own identity', hello({ site: 'a' }), 'own-identity'],
    ['a third site', hello({ site: 'c' }), 'wrong-site'],
    ['no object', 7, 'not-twinsite'],
    ['no JSON', undefined, 'not-twinsite'],
    ['another magic', { ...hello(), magic: 'else' }, 'not-twinsite'],
    ['a counter that is no number', { ...hello(), startCounter: 'x' }, 'not-twinsite'],
    ['a counter below zero', hello({ startCounter: -1 }), 'not-twinsite'],
  ] as const)('%s', (_name, raw, expected) => {
    expect(reason(raw)).toBe(expected);
  });

  test('a far protocol is named even if the rest of its hello is unknown', () => {
    const future = { magic: HELLO_MAGIC, protocol: 9, version: '9.0.0', site: 'b', novel: true };
    const verdict = judge(future);
    expect(verdict).toMatchObject({ ok: false, reason: 'protocol' });
    expect(verdict.ok ? '' : verdict.text).toContain('update site a');
    const past = judge({ ...future, protocol: 0 });
    expect(past.ok ? '' : past.text).toContain('update site b');
  });

  test.each([
    ['the first start', null, true, 'ok'],
    ['the same start', { startCounter: 10, instanceId: 'instance-b' }, false, 'ok'],
    ['a later start', { startCounter: 9, instanceId: 'instance-0' }, true, 'ok'],
    ['an earlier start', { startCounter: 11, instanceId: 'instance-b' }, null, 'clone'],
    ['the same number, another process', { startCounter: 10, instanceId: 'other' }, null, 'clone'],
  ] as const)('%s', (_name, known, newStart, expected) => {
    const verdict = judge(hello(), known);
    expect(verdict.ok ? 'ok' : verdict.reason).toBe(expected);
    if (verdict.ok) expect<boolean | null>(verdict.newStart).toBe(newStart);
  });
});
