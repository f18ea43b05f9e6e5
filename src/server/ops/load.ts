/** How busy this process is, from 0 to 1: for the balancer and the status document. */
import type { Clock } from '../../core/ports.ts';
import type { Service } from '../../core/service.ts';

export interface LoadSample {
  /** How late the event loop came back. */
  readonly lateMs: number;
  /** Of one core, from 0. */
  readonly cpu: number;
  readonly inFlight: number;
}

/** A loop this late is as busy as it may be. */
const LATE_MS = 200;
/** So many running requests are a full house. */
const FULL_HOUSE = 256;
const WEIGHT_OF_NEW = 0.3;
const SAMPLE_MS = 500;

/** The next smoothed load: the worst of loop delay, CPU and running requests. */
export function nextLoad(before: number, sample: LoadSample): number {
  const now = Math.max(sample.lateMs / LATE_MS, sample.cpu, sample.inFlight / FULL_HOUSE);
  const bounded = Math.min(1, Math.max(0, now));
  return before + (bounded - before) * WEIGHT_OF_NEW;
}

export interface LoadMeter {
  load(): number;
  readonly service: Service;
}

export interface LoadMeterDeps {
  readonly inFlight: () => number;
  /** Microseconds of CPU that this process has used; default: the process's own. */
  readonly cpuMicros?: () => number;
}

function processCpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Samples twice a second; loop lateness is what a sleep took beyond what was asked. */
export function createLoadMeter(deps: LoadMeterDeps): LoadMeter {
  const cpuMicros = deps.cpuMicros ?? processCpuMicros;
  let load = 0;
  const sample = async (clock: Clock, signal: AbortSignal): Promise<void> => {
    const startedAt = clock.monotonicMs();
    const cpuBefore = cpuMicros();
    await clock.sleep(SAMPLE_MS, signal);
    const elapsedMs = Math.max(1, clock.monotonicMs() - startedAt);
    load = nextLoad(load, {
      lateMs: Math.max(0, elapsedMs - SAMPLE_MS),
      cpu: (cpuMicros() - cpuBefore) / 1000 / elapsedMs,
      inFlight: deps.inFlight(),
    });
  };
  return {
    load: () => load,
    service: {
      name: 'load',
      async run({ signal, clock, ready }) {
        ready();
        while (!signal.aborted) await sample(clock, signal);
      },
    },
  };
}
