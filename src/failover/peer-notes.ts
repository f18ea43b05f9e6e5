/** What a heartbeat tells that must be remembered: the peer's store, what it knows of ours, equal roots. */
import { compareEpochs, type Epoch } from '../core/epoch.ts';
import { describeError } from '../core/errors.ts';
import type { EngineFacts, Log } from '../core/ports.ts';
import type { GuardedStore } from '../core/store-guard.ts';
import type { Beat } from './beat.ts';
import type { PairMemory } from './pair-memory.ts';

export interface PeerNotes {
  /** Never rejects; what could not be written is tried again at the next beat. */
  note(beat: Beat, facts: EngineFacts): Promise<void>;
  /** The epoch under which both stores were last seen equal, if they are still the same two stores. */
  equalUnder(): Epoch | null;
}

export function createPeerNotes(options: {
  readonly memory: PairMemory;
  readonly ownStore: GuardedStore;
  readonly epoch: () => Epoch | null;
  readonly log: Log;
}): PeerNotes {
  const { memory, ownStore } = options;
  const equalUnder = (): Epoch | null => {
    const record = memory.equal();
    return record !== null &&
      record.ownStoreId === ownStore.id &&
      record.peerStoreId === memory.peerStoreId()
      ? record.epoch
      : null;
  };
  const rootsEqual = (beat: Beat, facts: EngineFacts): boolean =>
    facts.fileRoot !== '' &&
    facts.fileRoot === beat.facts.fileRoot &&
    facts.filesDrained &&
    beat.facts.filesDrained &&
    ownStore.health().ok &&
    beat.store.condition === 'ok';

  const noteEqual = async (beat: Beat, facts: EngineFacts): Promise<void> => {
    const epoch = options.epoch();
    const peerStoreId = memory.peerStoreId();
    if (epoch === null || beat.epoch === null || peerStoreId === null) return;
    if (compareEpochs(epoch, beat.epoch) !== 0 || beat.store.id !== peerStoreId) return;
    const known = equalUnder();
    if (known !== null && compareEpochs(known, epoch) === 0) return;
    if (!rootsEqual(beat, facts)) return;
    await memory.rememberEqual({ epoch, ownStoreId: ownStore.id, peerStoreId });
    options.log.info('failover.stores-equal', { epoch: epoch.number, holder: epoch.site });
  };

  return {
    equalUnder,
    async note(beat, facts) {
      const heardBefore = memory.peerKnowsOwnStore();
      memory.notePeerKnows(beat.knowsStore);
      // The peer's word on which store is ours is news to the guard.
      if (heardBefore !== beat.knowsStore) await ownStore.probe.check();
      try {
        const { id, settled, condition } = beat.store;
        const credible = id !== null && settled && condition !== 'failed' && id !== ownStore.id;
        if (credible && id !== memory.peerStoreId()) {
          await memory.rememberPeerStore(id);
          options.log.info('failover.peer-store', { storeId: id });
        }
        await noteEqual(beat, facts);
      } catch (error) {
        options.log.warn('failover.memory-not-written', { error: describeError(error) });
      }
    },
  };
}
