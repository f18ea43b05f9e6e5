/** One request per Idempotency-Key at a time at this site. */
import { AppError } from '../../core/errors.ts';

export interface KeysInFlight {
  /** Takes the key; call the result when done. Throws AppError `key-in-progress`. */
  take(keyDigest: string | null): () => void;
}

export function createKeysInFlight(): KeysInFlight {
  // Bounded by the number of requests that run.
  const running = new Set<string>();
  return {
    take(keyDigest) {
      if (keyDigest === null) return () => undefined;
      if (running.has(keyDigest)) {
        throw new AppError(
          'key-in-progress',
          'A request with this Idempotency-Key is still running here; send it again in a moment.',
          { retryAfterSeconds: 1 },
        );
      }
      running.add(keyDigest);
      return () => {
        running.delete(keyDigest);
      };
    },
  };
}
