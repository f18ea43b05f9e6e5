import { expect, test } from 'bun:test';
import type { DepositRecord, EventRow } from './deposit.ts';
import type { DepositId, SiteName } from './ids.ts';
import { durabilityOf, makeReceipt } from './receipt.ts';

const id = '01890a5d-ac96-774b-bcce-b302099a8057' as DepositId;
const a = 'a' as SiteName;
const b = 'b' as SiteName;
const event = (kind: string, site: SiteName, at: string, counter = 1): EventRow => ({
  id: `${kind}-${site}`,
  entity: `deposit/${id}`,
  counter,
  site,
  at,
  kind,
  body: {},
});
const receivedA = event('received', a, '2026-01-01T00:00:00.000Z');
const receivedB = event('received', b, '2026-01-01T00:00:01.000Z');
const durable = event('durable', a, '2026-01-01T00:00:00.000Z');
const T = '2026-01-01T00:00:02.000Z';

function record(
  events: readonly EventRow[],
  evidence: Partial<Pick<DepositRecord, 'attestedByPeerAt' | 'vouchedAt' | 'heldHere'>> = {},
): DepositRecord {
  return {
    deposit: {
      id,
      collection: 'papers' as never,
      depositor: 'alice' as never,
      onBehalfOf: null,
      title: null,
      packaging: null,
      fileCount: 1,
      requestDigest: '',
      keyDigest: null,
    },
    files: [
      {
        id: '01890a5d-ac96-774b-bcce-b302099a8058' as never,
        depositId: id,
        ordinal: 0,
        name: 'a b%.txt',
        mediaType: 'text/plain',
        sizeBytes: 1,
        sha256: 'aa',
        md5: 'bb',
        chunkSha256: [],
        path: 'deposits/…',
      },
    ],
    events,
    attestedByPeerAt: null,
    vouchedAt: null,
    heldHere: false,
    ...evidence,
  };
}

test.each([
  ['taken here, nothing said', a, record([receivedA], { heldHere: true }), 'local'],
  ['taken here, attested', a, record([receivedA], { heldHere: true, attestedByPeerAt: T }), 'both'],
  ['taken here, raised later', a, record([receivedA, durable], { heldHere: true }), 'both'],
  [
    'was at both once, bytes lost here since',
    a,
    record([receivedA], { attestedByPeerAt: T }),
    'both',
  ],
  ['came from the peer, row only', b, record([receivedA]), 'local'],
  ['came from the peer, bytes too', b, record([receivedA], { heldHere: true }), 'both'],
  ['came from the peer, raised', b, record([receivedA, durable]), 'both'],
  ['taken at both while apart', a, record([receivedA, receivedB], { heldHere: true }), 'both'],
  ['taken at both, bytes not here', b, record([receivedA, receivedB]), 'local'],
  [
    'vouched for but not held now, from the peer',
    b,
    record([receivedA], { vouchedAt: T }),
    'local',
  ],
] as const)('%s', (_, site, known, durability) => {
  expect(durabilityOf(known, { peer: site === a ? b : a })).toBe(durability);
});

test('without a peer only evidence of old counts', () => {
  expect(durabilityOf(record([receivedA], { heldHere: true }), { peer: null })).toBe('local');
  expect(durabilityOf(record([receivedA, durable]), { peer: null })).toBe('both');
});

test('times by site: own taking first, then the evidence', () => {
  const at = (site: SiteName, known: DepositRecord) =>
    makeReceipt(known, { site, peer: site === a ? b : a, publicUrl: null }).durableAt;
  expect(at(a, record([receivedA], { attestedByPeerAt: T }))).toEqual({ a: receivedA.at, b: T });
  expect(at(b, record([receivedA], { vouchedAt: T }))).toEqual({ a: receivedA.at, b: T });
  expect(at(b, record([receivedA]))).toEqual({ a: receivedA.at, b: null });
  const both = record([receivedB, receivedA], { attestedByPeerAt: T, heldHere: true });
  expect(at(a, both)).toEqual({ a: receivedA.at, b: receivedB.at });
  expect(Object.keys(at(b, both))).toEqual(['a', 'b']);
});

test('received as the winning event says, whatever order events come in', () => {
  const receipt = makeReceipt(record([durable, receivedB, receivedA]), {
    site: b,
    peer: a,
    publicUrl: 'https://x',
  });
  expect([receipt.receivedAt, receipt.receivedBy]).toEqual([receivedA.at, 'a']);
  expect(receipt.files[0]?.href).toBe(`https://x/deposits/${id}/files/a%20b%25.txt`);
  expect(receipt.links.self).toBe(`https://x/deposits/${id}`);
});
