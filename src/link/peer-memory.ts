/**
 * What this site remembers of its peer across restarts, in `<data>/peer-start.json`: its newest start
 * (so that a copied identity is noticed) and the last address that worked (for when names do not resolve).
 */
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { describeError, systemCode } from '../core/errors.ts';
import type { KnownStart } from '../core/hello.ts';
import type { Log } from '../core/ports.ts';
import { replaceFileDurable } from '../platform/durable.ts';

const FILE_NAME = 'peer-start.json';

const schema = z.object({
  pairId: z.string(),
  startCounter: z.int().min(0),
  instanceId: z.string().min(8).max(64),
  address: z.object({ host: z.string().max(255), ip: z.string().max(64) }).nullable(),
});
type Remembered = z.infer<typeof schema>;

export interface PeerMemory {
  known(): KnownStart | null;
  /** Resolves when the start is on disk. Starts older than the known one change nothing. */
  remember(start: KnownStart): Promise<void>;
  /** The last IP address at which `host` was this peer, or null. */
  lastGoodIp(host: string): string | null;
  rememberIp(host: string, ip: string): Promise<void>;
}

async function load(file: string, pairId: string, log: Log): Promise<Remembered | null> {
  try {
    const parsed = schema.parse(JSON.parse(await fs.readFile(file, 'utf8')));
    // Another pair's memory says nothing about this one's peer.
    return parsed.pairId === pairId ? parsed : null;
  } catch (error) {
    // It only guards against copies: a site must not stay apart from its peer because this file rotted.
    if (systemCode(error) !== 'ENOENT')
      log.warn('link.memory-unreadable', { file, error: describeError(error) });
    return null;
  }
}

export async function openPeerMemory(
  dataDir: string,
  pairId: string,
  log: Log,
): Promise<PeerMemory> {
  const file = path.join(dataDir, FILE_NAME);
  let remembered = await load(file, pairId, log);
  let writing: Promise<void> = Promise.resolve();

  /** One write at a time; `change` sees what the one before it left, and returns null for nothing to do. */
  const update = (change: (now: Remembered | null) => Remembered | null): Promise<void> => {
    const step = writing.then(async () => {
      const next = change(remembered);
      if (!next) return;
      // Crash before the rename: the peer is judged by its start before; it was not accepted yet.
      await replaceFileDurable(file, `${JSON.stringify(next)}\n`);
      remembered = next;
    });
    writing = step.catch(() => undefined);
    return step;
  };
  return {
    known: () => remembered,
    remember: ({ startCounter, instanceId }) =>
      update((now) =>
        now && now.startCounter >= startCounter
          ? null
          : { pairId, startCounter, instanceId, address: now?.address ?? null },
      ),
    lastGoodIp: (host) => (remembered?.address?.host === host ? remembered.address.ip : null),
    rememberIp: (host, ip) =>
      update((now) =>
        !now || (now.address?.host === host && now.address.ip === ip)
          ? null
          : { ...now, address: { host, ip } },
      ),
  };
}
