import type { PairIdentity } from '../core/identity.ts';
import type { Alarms, Metrics } from '../core/ports.ts';
import { EXPIRY_ALARM_DAYS } from './limits.ts';

const ALARM = 'identity-expires';
const DAY_MS = 86_400_000;

/** Sets the gauge of this identity's remaining time, and the alarm in its last 60 days. */
export function checkExpiry(
  identity: Pick<PairIdentity, 'site' | 'certificateExpiresAt'>,
  nowWallMs: number,
  metrics: Metrics,
  alarms: Alarms,
): void {
  const leftMs = Date.parse(identity.certificateExpiresAt) - nowWallMs;
  metrics.gauge(
    'identity_expires_seconds',
    'Seconds until the certificate of this site’s identity expires.',
    Math.floor(leftMs / 1000),
  );
  if (leftMs > EXPIRY_ALARM_DAYS * DAY_MS) {
    alarms.clear(ALARM);
    return;
  }
  const days = Math.floor(leftMs / DAY_MS);
  alarms.raise({
    code: ALARM,
    severity: leftMs > 7 * DAY_MS ? 'warning' : 'critical',
    text: `The identity of site ${identity.site} ${
      leftMs > 0 ? `expires in ${days} days` : 'has expired'
    } (${identity.certificateExpiresAt}): run \`twinsite pair --renew\` and install both files.`,
    runbook: 'operations.md#identity-expires',
  });
}
