import type { DepositId } from '../../../core/ids.ts';

/** Deposits whose files are being placed now, counted per id; for the intake's judge. */
export interface RunningUploads {
  has(id: DepositId): boolean;
  add(id: DepositId): void;
  remove(id: DepositId): void;
}

export function createRunningUploads(): RunningUploads {
  const counts = new Map<DepositId, number>();
  return {
    has: (id) => counts.has(id),
    add: (id) => {
      counts.set(id, (counts.get(id) ?? 0) + 1);
    },
    remove(id) {
      const left = (counts.get(id) ?? 0) - 1;
      if (left > 0) counts.set(id, left);
      else counts.delete(id);
    },
  };
}
