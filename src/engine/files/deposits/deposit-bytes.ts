/** Puts the pieces of this folder together: a deposit's bytes, from the request to both stores and back. */
import { randomBytes } from 'node:crypto';
import { describeError } from '../../../core/errors.ts';
import type { DepositBytes } from '../../../core/ports.ts';
import type { Service } from '../../../core/service.ts';
import { createAudit } from './audit.ts';
import { createBufferGarbage } from './buffer-garbage.ts';
import { DEFAULT_PACE, type DepositBytesOptions, type DepositContext } from './context.ts';
import { createDirectories } from './directories.ts';
import { createFreeSpace } from './free-space.ts';
import { createHealer } from './healer.ts';
import { createHeldFiles } from './held-files.ts';
import { openIntakeJournal } from './intake-journal.ts';
import { createIntakeJudge } from './intake-judge.ts';
import { createKeyedLock } from './keyed-lock.ts';
import { createPeerLegGate } from './peer-leg-gate.ts';
import { servePeer } from './peer-store.ts';
import { createPublisher, requireOwnPath } from './publisher.ts';
import { createPuller } from './puller.ts';
import { createReader } from './reader.ts';
import { createRunningUploads } from './running-uploads.ts';
import { beginUpload } from './uploads.ts';

export interface DepositBytesPart extends DepositBytes {
  /** To be run by `supervise`; the bytes work without them, but nothing heals. */
  readonly services: readonly Service[];
  /** Files under `deposits/` without a row, at the last audit. */
  unclaimed(): number;
  /** File rows whose bytes this store is not known to hold, at the last look. */
  rowsWithoutBytes(): number;
}

/**
 * Opens the intake journal and answers the peer from now on. Throws AppError `no-permission` when
 * the journal cannot be kept. Run the services, and end them before the store is closed.
 */
export function createDepositBytes(options: DepositBytesOptions): DepositBytesPart {
  const context: DepositContext = {
    ...options,
    failpoint: options.failpoint ?? (() => undefined),
    pace: { ...DEFAULT_PACE, ...options.pace },
    garbage: createBufferGarbage(),
    tempTag: randomBytes(6).toString('hex'),
  };
  const { store, clock, log } = context;
  const lock = createKeyedLock();
  const running = createRunningUploads();
  const free = createFreeSpace(context);
  const directories = createDirectories(store);
  const held = createHeldFiles(context, directories);
  const journal = openIntakeJournal(options.dataDir, clock.monotonicMs, log);
  const publisher = createPublisher({ context, directories, held, journal, lock });
  const gate = createPeerLegGate(context);
  const puller = createPuller({ context, held, publisher, journal, lock, free });
  const healer = createHealer({ context, puller });
  const audit = createAudit({ context, journal, running });
  const reader = createReader({ context, heal: healer.queue });
  servePeer({ context, publisher, free, running });

  return {
    begin: (begin) => beginUpload({ context, gate, publisher, journal, running, free }, begin),
    read: reader.read,
    async ensureHeld(file) {
      requireOwnPath(file);
      try {
        const finding = await puller.isHere(file);
        if (finding !== 'right') healer.queue(file);
        return finding === 'right';
      } catch (error) {
        log.warn('deposit.not-held', { path: file.path, error: describeError(error) });
        return false;
      }
    },
    services: [
      createIntakeJudge({ context, journal, held, lock, running }),
      healer.service,
      gate.service,
      audit.service,
    ],
    unclaimed: audit.unclaimed,
    rowsWithoutBytes: healer.needed,
  };
}
