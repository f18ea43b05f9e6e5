import { expect, test } from 'bun:test';
import type { Clock } from '../../../core/ports.ts';
import type { StreamHealth } from '../../../core/status.ts';
import { createAlarms } from '../../../platform/alarms.ts';
import { silentLog } from '../../../platform/log.ts';
import { createReplicationAlarms } from './alarms.ts';
import type { PeerFacts } from './facts.ts';
import { unknownHealth } from './health.ts';
import type { Observation } from './observe.ts';

function setUp() {
  const time = { now: 1_000 };
  const clock: Clock = {
    monotonicMs: () => time.now,
    wallMs: () => 0,
    sleep: () => Promise.resolve(),
  };
  const alarms = createAlarms(clock, silentLog);
  const replication = createReplicationAlarms(alarms, clock);
  const look = (
    change: {
      readonly seen?: Partial<Observation>;
      readonly facts?: Partial<PeerFacts>;
      readonly inbound?: StreamHealth;
      readonly keptBytes?: number;
    } = {},
  ) => {
    const seen = { divergentRows: 0, schema: 's', slot: null, ...change.seen } as Observation;
    const facts = { schema: 's', slot: 'active', ...change.facts } as PeerFacts;
    const unknown = unknownHealth('18').status;
    const status = {
      ...unknown,
      mode: 'both' as const,
      inbound: change.inbound ?? ('streaming' as const),
      walKeptBytes: change.keptBytes ?? 0,
      walLimitBytes: 1_000,
    };
    replication.update(seen, facts, { allReady: true, status });
    return alarms.list().map((alarm) => alarm.code);
  };
  return { time, replication, alarms, look };
}

test('rows that do not arrive are an alarm after 10 s, cleared when they do', () => {
  const { time, look } = setUp();
  expect(look({ inbound: 'down' })).toEqual([]);
  time.now += 9_999;
  expect(look({ inbound: 'down' })).toEqual([]);
  time.now += 1;
  expect(look({ inbound: 'down' })).toEqual(['replication-inbound-down']);
  expect(look({ inbound: 'catching-up' })).toEqual([]);
  time.now += 60_000;
  expect(look({ inbound: 'down' })).toEqual([]);
});

test('what a look shows is raised, and cleared by the next that does not', () => {
  const { look } = setUp();
  expect(look({ seen: { divergentRows: 3 } })).toEqual(['rows-diverge']);
  expect(look({ facts: { slot: 'lost' } })).toEqual(['slot-lost']);
  expect(look({ facts: { schema: 'other' } })).toEqual(['schema-differs']);
  expect(look({ keptBytes: 501 })).toEqual(['wal-kept']);
  expect(look()).toEqual([]);
});

test('a rollback stands until rows flow both ways again', () => {
  const { replication, alarms, look } = setUp();
  replication.rolledBack();
  expect(alarms.list().map((alarm) => alarm.code)).toEqual(['database-rolled-back']);
  expect(look()).toEqual([]);
});
