/** Prometheus metrics through prom-client, in a registry of our own (no default collectors). */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Metrics } from '../core/ports.ts';

export interface MetricsRegistry extends Metrics {
  /** The text exposition format. */
  text(): Promise<string>;
  readonly contentType: string;
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createMetrics(): MetricsRegistry {
  const registry = new Registry();
  const known = new Map<string, Counter | Gauge | Histogram>();
  const obtain = <T extends Counter | Gauge | Histogram>(name: string, make: () => T): T => {
    const metric = (known.get(name) as T | undefined) ?? make();
    known.set(name, metric);
    return metric;
  };
  const shape = (name: string, help: string, labels: Readonly<Record<string, string>>) => ({
    name: `twinsite_${name}`,
    help,
    labelNames: Object.keys(labels),
    registers: [registry],
  });
  return {
    count: (name, help, labels = {}, by = 1) =>
      obtain(name, () => new Counter(shape(name, help, labels))).inc(labels, by),
    gauge: (name, help, value, labels = {}) =>
      obtain(name, () => new Gauge(shape(name, help, labels))).set(labels, value),
    observe: (name, help, seconds, labels = {}) =>
      obtain(name, () => new Histogram({ ...shape(name, help, labels), buckets: SECONDS })).observe(
        labels,
        seconds,
      ),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
