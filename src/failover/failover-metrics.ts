import type { Metrics, SiteView } from '../core/ports.ts';
import { SITE_STATES } from '../core/site-machine.ts';
import type { PeerStatus } from '../core/status.ts';

/** State and verdict one-hot, the epoch, and what heartbeats measure. */
export function reportMetrics(metrics: Metrics, view: SiteView, peer: PeerStatus | null): void {
  for (const state of SITE_STATES) {
    metrics.gauge('site_state', 'The state of this site, one-hot.', view.state === state ? 1 : 0, {
      state,
    });
  }
  metrics.gauge('epoch', 'The number of the epoch.', view.epoch?.number ?? 0);
  metrics.gauge('may_be_stale', 'This site started alone.', view.mayBeStale ? 1 : 0);
  if (peer === null) return;
  for (const verdict of ['alive', 'suspect', 'lost', 'unknown']) {
    const value = peer.verdict === verdict ? 1 : 0;
    metrics.gauge('peer_verdict', 'The verdict on the peer, one-hot.', value, { verdict });
  }
  if (peer.rttMs !== null) {
    metrics.gauge('peer_rtt_seconds', 'Round trip of the latest heartbeat.', peer.rttMs / 1000);
  }
  if (peer.clockSkewMs !== null) {
    const seconds = peer.clockSkewMs / 1000;
    metrics.gauge('peer_clock_skew_seconds', "The peer's wall clock minus this one.", seconds);
  }
}
