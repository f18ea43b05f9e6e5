/** Whether the peer attests in time now, as far as its last answers tell. */

export interface Evidence {
  /** The peer answered, whatever it said. */
  answered(): void;
  /** The peer could not be asked, or answered wrongly. */
  failed(): void;
  /** A deposit was not attested in time. */
  late(): void;
  /** A deposit was attested. */
  attested(): void;
  /** Monotonic time of the last answer; null before the first. */
  lastAnswerMs(): number | null;
  isAnswering(): boolean;
}

/**
 * A deposit that waited in vain weighs more than answers to empty questions: only an attested deposit
 * makes up for it (the one that waited is asked for again and again, so there will be one).
 */
export function createEvidence(options: {
  readonly monotonicMs: () => number;
  readonly lastHeardMs: () => number | null;
  /** A peer that was silent for longer cannot attest in time. */
  readonly freshMs: number;
}): Evidence {
  let answeredAtMs: number | null = null;
  let isFailing = true;
  let isLate = false;
  return {
    answered() {
      answeredAtMs = options.monotonicMs();
      isFailing = false;
    },
    failed() {
      isFailing = true;
    },
    late() {
      isLate = true;
    },
    attested() {
      isLate = false;
    },
    lastAnswerMs: () => answeredAtMs,
    isAnswering() {
      const heard = options.lastHeardMs();
      if (heard === null || options.monotonicMs() - heard > options.freshMs) return false;
      return !isFailing && !isLate;
    },
  };
}
