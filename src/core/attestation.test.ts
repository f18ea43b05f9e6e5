import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  type Attestation,
  attestationText,
  durableEvent,
  judgeAttestation,
  parseAttestation,
  winningReceived,
} from './attestation.ts';
import { durableEventId, type EventRow } from './deposit.ts';
import type { DepositId, SiteName } from './ids.ts';

const attestation: Attestation = {
  pairId: 'pair',
  site: 'b',
  storeId: 'store-b',
  storeGeneration: '1',
  at: '2026-01-02T03:04:05.678Z',
  deposits: [
    ['id-1', 'digest-1'],
    ['id-2', 'digest-2'],
  ],
};
const expected = {
  pairId: 'pair',
  peerSite: 'b' as SiteName,
  ownStoreId: 'store-a',
  digests: new Map([
    ['id-1', 'digest-1'],
    ['id-2', 'digest-2'],
  ]),
};

describe('attestationText', () => {
  test('is the same in whatever order the deposits came', () => {
    const turned = { ...attestation, deposits: [...attestation.deposits].reverse() };
    expect(attestationText(turned)).toBe(attestationText(attestation));
  });

  test('is read back as it was', () => {
    const pair = fc.tuple(fc.string(), fc.string());
    const any = fc.record({
      pairId: fc.string(),
      site: fc.string(),
      storeId: fc.string(),
      storeGeneration: fc.string(),
      at: fc.string(),
      deposits: fc.uniqueArray(pair, { selector: ([id]) => id }),
    });
    fc.assert(
      fc.property(any, (value) => {
        const text = attestationText(value);
        const parsed = parseAttestation(text);
        expect(parsed === null ? null : attestationText(parsed)).toBe(text);
      }),
    );
  });

  test.each(['', 'null', '[]', '{}', `${attestationText(attestation)} `, '{"type":"other"}'])(
    'refuses %p',
    (text) => {
      expect(parseAttestation(text)).toBeNull();
    },
  );

  test('refuses a text with more than belongs there', () => {
    const more = JSON.stringify({ ...JSON.parse(attestationText(attestation)), more: 1 });
    expect(parseAttestation(more)).toBeNull();
  });
});

describe('judgeAttestation', () => {
  test('gives what was asked for and has the same digest', () => {
    expect(judgeAttestation(attestation, expected)).toEqual(['id-1', 'id-2'] as DepositId[]);
    const digests = new Map([['id-1', 'another']]);
    expect(judgeAttestation(attestation, { ...expected, digests })).toEqual([]);
  });
  test.each<[Partial<Attestation>, string]>([
    [{ pairId: 'other' }, 'another pair'],
    [{ site: 'a' }, 'not by the peer'],
    [{ storeId: 'store-a' }, 'own store'],
    [{ storeId: '' }, 'no store'],
    [{ at: 'yesterday' }, 'no time'],
  ])('%p does not count', (change, why) => {
    expect(judgeAttestation({ ...attestation, ...change }, expected)).toContain(why);
  });
});

describe('the event that raises a deposit', () => {
  const event = (site: string, counter: number, kind = 'received'): EventRow => ({
    id: `${site}-${counter}`,
    entity: 'deposit/d',
    counter,
    site: site as SiteName,
    at: `2026-01-0${counter}T00:00:00.000Z`,
    kind,
    body: {},
  });
  test('copies the first received, whoever has it', () => {
    const winner = winningReceived([event('b', 1), event('a', 2), event('a', 1, 'durable')]);
    expect(winner?.id).toBe('b-1');
    const id = '018f0000-0000-7000-8000-000000000000' as DepositId;
    expect(winner && durableEvent(id, winner)).toEqual({
      id: durableEventId(id),
      entity: `deposit/${id}`,
      counter: 1,
      site: 'b' as SiteName,
      at: '2026-01-01T00:00:00.000Z',
      kind: 'durable',
      body: {},
    });
  });
  test('there is none without a received', () => {
    expect(winningReceived([event('a', 1, 'durable')])).toBeNull();
  });
});
