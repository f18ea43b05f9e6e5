/** Keeps replication with the peer as it should be, and knows how it is. */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { describeError } from '../../../core/errors.ts';
import type { SiteName } from '../../../core/ids.ts';
import type { Alarms, Clock, Log, Metrics, PeerLink } from '../../../core/ports.ts';
import type { Service, ServiceContext } from '../../../core/service.ts';
import type { DatabaseStatus } from '../../../core/status.ts';
import { planSubscription } from '../../../core/subscription-plan.ts';
import { within } from '../catalogue/database-error.ts';
import type { DatabaseEndpoint, DatabasePools } from '../connections.ts';
import { createReplicationAlarms, type ReplicationAlarms } from './alarms.ts';
import { FACTS_METHOD, factsToTell, type PeerFacts, parsePeerFacts } from './facts.ts';
import { type Health, judgeHealth, type Sample, unknownHealth } from './health.ts';
import { connectionString } from './names.ts';
import { type Observation, observe } from './observe.ts';
import { createRollbackGuard, type RollbackGuard } from './rollback.ts';
import { toSituation } from './situation.ts';
import { answerSlotRequests, limitReplicationRole, runStep, type StepContext } from './steps.ts';
import { acceptTunnel, serveTunnelSocket, tunnelSocketPath } from './tunnel.ts';

const LOOK_EVERY_MS = 1_000;
const LOOK_AGAIN_MS = 100;
const LOOK_WITHIN_MS = 5_000;
const FACTS_WITHIN_MS = 2_000;
/** An older look tells nothing any more. */
const STALE_MS = 6_000;
const SAMPLES_KEPT = 120;

export interface ReplicationOptions {
  readonly pools: Pick<DatabasePools, 'admin'>;
  readonly endpoint: DatabaseEndpoint;
  readonly link: PeerLink;
  readonly site: SiteName;
  readonly peer: SiteName;
  readonly dataDir: string;
  /** --tunnel-socket; `<data>/tunnel` unless told. */
  readonly socketDirectory?: string;
  /** The user of PostgreSQL's processes when it is not this one; else the owner of its socket's directory. */
  readonly tunnelOwner?: { readonly uid: number; readonly gid: number };
  readonly clock: Clock;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly metrics: Metrics;
}

export interface Replication {
  readonly service: Service;
  /** As of the last look, at most some seconds old; never asks the database. */
  status(): DatabaseStatus;
  /** Rows flow both ways and neither side is far behind. */
  isStreaming(): boolean;
  /** Every table that the peer publishes is here with its first copy complete. */
  allReady(): boolean;
}

interface State {
  health: Health;
  lookedAtMs: number;
  /** Raised with every change made, so that a look from before it is not acted on. */
  changes: number;
  isChanging: boolean;
  errors: number;
  lastFailure: string;
  samples: Sample[];
}

async function ownerOf(options: ReplicationOptions) {
  if (options.tunnelOwner !== undefined) return { owner: options.tunnelOwner };
  if (process.getuid?.() !== 0) return {};
  const { uid, gid } = await fs.stat(options.endpoint.socketDirectory);
  return uid === 0 ? {} : { owner: { uid, gid } };
}

async function askPeer(
  options: ReplicationOptions,
  signal: AbortSignal,
): Promise<PeerFacts | null> {
  try {
    const limits = { timeoutMs: FACTS_WITHIN_MS, signal };
    return parsePeerFacts(await options.link.request(FACTS_METHOD, {}, limits));
  } catch (error) {
    options.log.debug('replication.no-facts', { error: describeError(error) });
    return null;
  }
}

/** Carries the plan out, as far as it goes. True when anything was changed. */
async function carryOut(
  seen: Observation,
  facts: PeerFacts | null,
  context: StepContext,
  state: State,
): Promise<boolean> {
  const connection = connectionString(context.tunnelDirectory, context.site);
  const plan = planSubscription(toSituation(seen, facts, { site: context.site, connection }));
  let changed = false;
  for (const step of plan) {
    if (context.signal.aborted) break;
    if (step.kind === 'drop') context.log.warn('replication.reseed', { why: step.why });
    try {
      if (!(await runStep(step, context))) break;
      changed = true;
      state.lastFailure = '';
    } catch (error) {
      const text = `${step.kind}: ${describeError(error)}`;
      const level = text === state.lastFailure ? 'debug' : 'warn';
      context.log[level]('replication.step-failed', { step: step.kind, error: text });
      state.lastFailure = text;
      break;
    }
  }
  return changed;
}

function note(seen: Observation, facts: PeerFacts | null, state: State, clock: Clock): void {
  const errors = seen.subscription?.errors ?? 0;
  const newErrors = errors > state.errors && state.lookedAtMs > 0;
  state.errors = errors;
  state.samples.push({ atMs: clock.monotonicMs(), keptBytes: seen.slot?.keptBytes ?? 0 });
  if (state.samples.length > SAMPLES_KEPT) state.samples.shift();
  state.health = judgeHealth(seen, facts, { newErrors, samples: state.samples });
  state.lookedAtMs = clock.monotonicMs();
}

function report(metrics: Metrics, status: DatabaseStatus): void {
  for (const [direction, health] of [
    ['inbound', status.inbound],
    ['outbound', status.outbound],
  ] as const) {
    metrics.gauge(
      'replication_streaming',
      'Whether rows flow in this direction and none is far behind.',
      health === 'streaming' ? 1 : 0,
      { direction },
    );
  }
  metrics.gauge('replication_lag_bytes', 'Log bytes not yet applied at one side.', status.lagBytes);
  metrics.gauge('replication_wal_kept_bytes', 'Log kept for the peer.', status.walKeptBytes);
}

interface Manager {
  readonly options: ReplicationOptions;
  readonly tunnelDirectory: string;
  readonly look: () => Promise<Observation>;
  readonly guard: RollbackGuard;
  readonly alarms: ReplicationAlarms;
  readonly state: State;
}

/** Starts what is due, unless something is under way; true when it was done at once. */
async function change(
  manager: Manager,
  seen: Observation,
  facts: PeerFacts | null,
  changing: Set<Promise<void>>,
  signal: AbortSignal,
): Promise<boolean> {
  const { options, state, tunnelDirectory } = manager;
  const { link, site, peer, clock, log } = options;
  const context = {
    endpoint: options.endpoint,
    link,
    site,
    peer,
    tunnelDirectory,
    clock,
    log,
    signal,
  };
  const before = state.changes;
  state.isChanging = true;
  const one = carryOut(seen, facts, context, state)
    .then((changed) => {
      state.changes += changed ? 1 : 0;
    })
    .finally(() => {
      state.isChanging = false;
      changing.delete(one);
    });
  changing.add(one);
  // Looking goes on while a long change runs.
  await Promise.race([one, clock.sleep(LOOK_AGAIN_MS, signal)]);
  return state.changes !== before;
}

/** One look, what it tells, and what it leads to; true when there may be more to do at once. */
async function turn(
  manager: Manager,
  changing: Set<Promise<void>>,
  signal: AbortSignal,
): Promise<boolean> {
  const { options, state, alarms } = manager;
  const { clock, log } = options;
  const changesBefore = state.changes;
  const wasChanging = state.isChanging;
  const seen = await manager.look();
  const facts = await askPeer(options, signal);
  if (facts !== null && (await manager.guard.check(seen, facts))) {
    log.error('replication.rolled-back', { site: options.site });
    alarms.rolledBack();
    state.health = unknownHealth(seen.version);
    return true;
  }
  note(seen, facts, state, clock);
  alarms.update(seen, facts, state.health);
  report(options.metrics, state.health.status);
  if (!seen.roleTimeout) await limitReplicationRole({ endpoint: options.endpoint, clock });
  // Something was changed between the look and now: only a new look tells what is due.
  if (wasChanging || state.changes !== changesBefore) return false;
  return change(manager, seen, facts, changing, signal);
}

async function manage(manager: Manager, signal: AbortSignal): Promise<void> {
  const { options, state } = manager;
  const changing = new Set<Promise<void>>();
  try {
    while (!signal.aborted) {
      const again = await turn(manager, changing, signal).catch((error: unknown) => {
        const text = describeError(error);
        const level = text === state.lastFailure ? 'debug' : 'warn';
        options.log[level]('replication.look-failed', { error: text });
        state.lastFailure = text;
        return false;
      });
      await options.clock.sleep(again ? LOOK_AGAIN_MS : LOOK_EVERY_MS, signal);
    }
  } finally {
    await Promise.all(changing);
  }
}

/** The tunnel's socket and the manager, until asked to stop or until either fails. */
async function runBoth(manager: Manager, context: ServiceContext): Promise<void> {
  const { options, tunnelDirectory } = manager;
  const { link, clock, log } = options;
  const over = new AbortController();
  const signal = AbortSignal.any([context.signal, over.signal]);
  const owner = await ownerOf(options);
  const tunnel = { directory: tunnelDirectory, link, clock, log, ...owner };
  const listening = Promise.withResolvers<void>();
  const serving = serveTunnelSocket(tunnel, signal, listening.resolve);
  try {
    await Promise.race([listening.promise, serving]);
    context.ready();
    await Promise.race([manage(manager, signal), serving]);
  } finally {
    over.abort();
    await serving;
  }
}

/**
 * The manager of one pair. Answers and serves the peer from the moment it is made; the tunnel's socket
 * and all changes are its service's. Throws AppError `config` for a tunnel path that is too long.
 */
export function createReplication(options: ReplicationOptions): Replication {
  const { link, peer, clock, log } = options;
  const { admin } = options.pools;
  const tunnelDirectory = path.resolve(
    options.socketDirectory ?? path.join(options.dataDir, 'tunnel'),
  );
  tunnelSocketPath(tunnelDirectory);
  const state: State = {
    health: unknownHealth(''),
    lookedAtMs: 0,
    changes: 0,
    isChanging: false,
    errors: 0,
    lastFailure: '',
    samples: [],
  };
  const look = () => within(observe(admin, peer), clock, LOOK_WITHIN_MS, 'replication state');
  const guard = createRollbackGuard(admin, look, () => clock.monotonicMs());
  const alarms = createReplicationAlarms(options.alarms, clock);
  const manager = { options, tunnelDirectory, look, guard, alarms, state };

  acceptTunnel({ link, endpoint: options.endpoint, clock, log });
  answerSlotRequests({ endpoint: options.endpoint, clock, link, peer, log });
  link.answer(FACTS_METHOD, async () => factsToTell(await look()));

  const isFresh = () => state.lookedAtMs > 0 && clock.monotonicMs() - state.lookedAtMs < STALE_MS;
  const current = () => (isFresh() ? state.health : unknownHealth(state.health.status.postgres));
  return {
    status: () => current().status,
    isStreaming: () => {
      const { inbound, outbound } = current().status;
      return inbound === 'streaming' && outbound === 'streaming';
    },
    allReady: () => current().allReady,
    service: { name: 'replication', run: (context) => runBoth(manager, context) },
  };
}
