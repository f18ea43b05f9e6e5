/**
 * `<data>/failover.json`: what this site must know of the pair before it meets its peer again: which
 * store the peer has, and under which epoch both stores were last seen equal.
 */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { Epoch } from '../core/epoch.ts';
import { AppError, describeError, systemCode } from '../core/errors.ts';
import { parseSiteName, type SiteName } from '../core/ids.ts';
import type { Clock, Log, PeerLink } from '../core/ports.ts';
import { replaceFileDurable } from '../platform/durable.ts';

const QUESTION = 'failover.known-store';

/** Both stores had one tree while this epoch was in force. */
export interface EqualRecord {
  readonly epoch: Epoch;
  readonly ownStoreId: string;
  readonly peerStoreId: string;
}

const siteName = z.string().transform((text, context): SiteName => {
  const name = parseSiteName(text);
  if (name !== null) return name;
  context.addIssue('not a site name');
  return z.NEVER;
});
/** An epoch as it stands in files and heartbeats. */
export const epochSchema = z.object({ number: z.int().nonnegative(), site: siteName });
const storeId = z.string().min(1).max(64);
const schema = z.object({
  format: z.literal(1),
  peerStoreId: storeId.nullable(),
  equal: z.object({ epoch: epochSchema, ownStoreId: storeId, peerStoreId: storeId }).nullable(),
});
type Remembered = Omit<z.infer<typeof schema>, 'format'>;

export interface PairMemory {
  /** The peer's store as it last announced it; null when it never did. */
  peerStoreId(): string | null;
  /** This site's store as the peer remembers it; null: none; undefined: the peer was not heard yet. */
  peerKnowsOwnStore(): string | null | undefined;
  notePeerKnows(storeId: string | null): void;
  /** Durable when it resolves. */
  rememberPeerStore(storeId: string): Promise<void>;
  equal(): EqualRecord | null;
  /** Durable when it resolves. */
  rememberEqual(record: EqualRecord): Promise<void>;
  /** Answers the peer's askPeer(). Call once, as soon as there is a link. */
  answerOn(link: PeerLink): void;
  /**
   * Asks the peer which store this site has, again and again until it answers or `timeoutMs` passed.
   * For the very first start, before the store is opened.
   */
  askPeer(link: PeerLink, clock: Clock, timeoutMs: number, signal: AbortSignal): Promise<void>;
}

async function load(file: string, log: Log): Promise<Remembered> {
  const nothing = { peerStoreId: null, equal: null };
  try {
    const content = await fs.readFile(file, 'utf8');
    const parsed = schema.safeParse(JSON.parse(content.slice(0, 16 * 1024)));
    if (parsed.success) return parsed.data;
    log.warn('failover.memory-damaged', { file });
    return nothing;
  } catch (error) {
    // What is forgotten only makes this site more careful.
    if (systemCode(error) !== 'ENOENT') {
      log.warn('failover.memory-unreadable', { file, error: describeError(error) });
    }
    return nothing;
  }
}

/** Reads `<data>/failover.json`. A damaged one counts as forgotten. */
export async function openPairMemory(dataDir: string, log: Log): Promise<PairMemory> {
  const file = path.join(dataDir, 'failover.json');
  let now = await load(file, log);
  let knows: string | null | undefined;
  let writing: Promise<void> = Promise.resolve();
  const change = (next: Partial<Remembered>): Promise<void> => {
    const step = writing.then(async () => {
      const merged = { ...now, ...next };
      await replaceFileDurable(file, `${JSON.stringify({ format: 1, ...merged })}\n`);
      now = merged;
    });
    writing = step.catch(() => undefined);
    return step;
  };
  const answer = z.object({ storeId: storeId.nullable() });
  return {
    peerStoreId: () => now.peerStoreId,
    peerKnowsOwnStore: () => knows,
    notePeerKnows: (id) => {
      knows = id;
    },
    rememberPeerStore: (id) => change({ peerStoreId: id }),
    equal: () => now.equal,
    rememberEqual: (record) => change({ equal: record }),
    answerOn: (link) => link.answer(QUESTION, async () => ({ storeId: now.peerStoreId })),
    async askPeer(link, clock, timeoutMs, signal) {
      const untilMs = clock.monotonicMs() + timeoutMs;
      while (!signal.aborted && clock.monotonicMs() < untilMs) {
        const leftMs = untilMs - clock.monotonicMs();
        try {
          const reply = await link.request(QUESTION, {}, { timeoutMs: leftMs, signal });
          knows = answer.parse(reply).storeId;
          return;
        } catch (error) {
          if (error instanceof AppError && error.code === 'peer-refused') return;
          await clock.sleep(Math.min(100, Math.max(0, leftMs)), signal);
        }
      }
    },
  };
}
