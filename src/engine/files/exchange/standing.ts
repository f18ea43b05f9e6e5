/** How this site stands towards its peer, and what the peer said of itself last. */

import { rfc3339 } from '../../../platform/clock.ts';
import { sha256Hex } from '../../../platform/hashing.ts';
import type { FilesContext } from '../scan/context.ts';
import { ownWriter, wakeApply } from '../scan/context.ts';
import type { Standing } from './wire.ts';

export interface PeerState {
  /** False for a site that runs without a peer. */
  readonly linked: boolean;
  /** Null before the first word of this run. */
  last: Standing | null;
  /** Everything up to here is applied at the peer. */
  appliedSeq: number;
  /** The last time both sides were drained and compared their trees. */
  rootEqual: boolean | null;
}

export function standing(context: FilesContext): Standing {
  const { index, store, ignore } = context;
  const incarnation = index.meta.get('peer_incarnation');
  return {
    incarnation: index.incarnation,
    storeId: store.id,
    rules: sha256Hex(ignore.canonical),
    seq: index.durableSeq,
    root: index.root,
    pending: pendingTold(context),
    stuck: context.figures.stuckTold,
    recorded: incarnation === null ? null : { incarnation, seq: index.meta.number('peer_seq') },
  };
}

/** What the peer told and is not in place, without what a person was told of. */
export function pendingTold(context: FilesContext): number {
  return Math.max(0, context.index.need.told() - context.figures.stuckTold);
}

export function ackedSeq(context: FilesContext): number {
  return context.index.meta.number('acked_seq');
}

/**
 * Takes the peer's word about itself. Returns false when nothing may be exchanged: the rules differ, or
 * both sites have one and the same store.
 */
export function takeStanding(context: FilesContext, peer: PeerState, said: Standing): boolean {
  const { index } = context;
  if (said.storeId === context.store.id) {
    raise(context, 'store-twin', 'both sites name one and the same store; nothing is exchanged');
    context.figures.paused = true;
    return false;
  }
  context.alarms.clear('store-twin');
  if (said.rules !== sha256Hex(context.ignore.canonical)) {
    raise(
      context,
      'ignore-rules-differ',
      'the ignore rules of the two sites differ: file replication pauses until --ignore is equal',
    );
    context.figures.paused = true;
    return false;
  }
  context.alarms.clear('ignore-rules-differ');
  if (context.figures.paused) {
    context.figures.paused = false;
    wakeApply(context);
  }
  peer.last = said;
  const { recorded } = said;
  if (recorded?.incarnation === index.incarnation) {
    if (recorded.seq > index.seq) return rolledBack(context, recorded.seq);
    if (recorded.seq > ackedSeq(context)) {
      index.write(() => index.meta.set('acked_seq', String(recorded.seq)));
    }
    if (said.pending === 0) peer.appliedSeq = Math.max(peer.appliedSeq, recorded.seq);
  }
  compareRoots(context, peer, said);
  return true;
}

/** The peer has seen more of this site's journal than exists: the index was restored from a copy. */
function rolledBack(context: FilesContext, seen: number): boolean {
  const { index } = context;
  context.log.warn('files.rolled-back', { seenByPeer: seen, own: index.seq });
  const writer = ownWriter(context);
  const trusted = ackedSeq(context);
  index.write(() => {
    index.startNewIncarnation(writer, trusted);
    index.meta.remove('peer_incarnation');
    index.meta.remove('peer_seq');
    index.meta.set('acked_seq', '0');
  });
  return true;
}

/** True when nothing of the peer's is left to record or to apply, and it recorded all of ours. */
export function isDrained(context: FilesContext, peer: PeerState): boolean {
  const { index } = context;
  const { last } = peer;
  return (
    context.figures.scanned &&
    pendingTold(context) === 0 &&
    (!peer.linked ||
      (last !== null &&
        index.meta.get('peer_incarnation') === last.incarnation &&
        index.meta.number('peer_seq') >= last.seq &&
        ackedSeq(context) >= index.seq))
  );
}

function compareRoots(context: FilesContext, peer: PeerState, said: Standing): void {
  const { index } = context;
  const both =
    said.pending === 0 &&
    isDrained(context, peer) &&
    said.recorded?.incarnation === index.incarnation &&
    said.recorded.seq === index.seq;
  if (!both) return;
  peer.rootEqual = said.root === index.root;
  if (!peer.rootEqual) return;
  context.figures.lastRootMatchAt = rfc3339(context.clock.wallMs());
  if (index.meta.get('synced') === null) index.write(() => index.meta.set('synced', '1'));
}

function raise(context: FilesContext, code: string, text: string): void {
  context.alarms.raise({ code, severity: 'critical', text, runbook: `operations.md#${code}` });
}
