/** What a site without a peer says where a pair would speak of two. */
import type { Attestor } from '../../core/ports.ts';
import type { DatabaseStatus } from '../../core/status.ts';

/** Nobody is there to attest; every receipt is `local`. */
export const attestNobody: Attestor = {
  attest: () => Promise.resolve(false),
  isAnswering: () => false,
};

export function loneDatabaseStatus(postgres: string): DatabaseStatus {
  return {
    mode: 'local',
    inbound: 'down',
    outbound: 'down',
    lagBytes: 0,
    lagMs: 0,
    digestOk: null,
    digestAt: null,
    walKeptBytes: 0,
    walLimitBytes: 0,
    fullInMs: null,
    postgres,
  };
}
