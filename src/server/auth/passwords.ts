/** Passwords: argon2id, few at a time, and a verified one is remembered for a short while. */
import { createHmac } from 'node:crypto';
import { AppError } from '../../core/errors.ts';
import type { Clock } from '../../core/ports.ts';

/** OWASP's smaller profile: 19 MiB, so that two at a time stay far below the memory target. */
const ARGON2 = { algorithm: 'argon2id', memoryCost: 19_456, timeCost: 2 } as const;
const MAX_PASSWORD_BYTES = 1024;

/** The hash to store. Throws AppError `bad-request` for an empty or overlong password. */
export async function hashPassword(password: string): Promise<string> {
  const bytes = Buffer.byteLength(password);
  if (bytes === 0 || bytes > MAX_PASSWORD_BYTES) {
    throw new AppError(
      'bad-request',
      `A password has 1 to ${MAX_PASSWORD_BYTES} bytes; give another one.`,
    );
  }
  return Bun.password.hash(password, ARGON2);
}

export interface PasswordVerifier {
  /** Throws AppError `not-ready` when too many verifications wait already. */
  verify(user: string, password: string, hash: string): Promise<boolean>;
}

export interface PasswordVerifierOptions {
  readonly clock: Clock;
  /** Keys the memory of verified credentials; random for each process. */
  readonly key: Uint8Array;
  readonly concurrency?: number;
  readonly maxWaiting?: number;
  readonly cacheMs?: number;
  /** For tests. */
  readonly verify?: (password: string, hash: string) => Promise<boolean>;
}

const MAX_REMEMBERED = 10_000;

/** A gate that lets a few through at once and turns away when the queue is full. */
function createGate(concurrency: number, maxWaiting: number) {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) {
      if (waiting.length >= maxWaiting) {
        throw new AppError('not-ready', 'Too many logins are being checked; try again.', {
          retryAfterSeconds: 1,
        });
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running += 1;
    }
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      // The place is handed on, so that nobody slips in between.
      if (next) next();
      else running -= 1;
    }
  };
}

/**
 * Verifies passwords with bounded concurrency. A verified pair is remembered by HMAC for `cacheMs`;
 * failures are not. A changed password is another key, so it needs no invalidation.
 */
export function createPasswordVerifier(options: PasswordVerifierOptions): PasswordVerifier {
  const { clock, key, concurrency = 2, maxWaiting = 32, cacheMs = 60_000 } = options;
  const verify = options.verify ?? ((password, hash) => Bun.password.verify(password, hash));
  const gate = createGate(concurrency, maxWaiting);
  const verifiedUntil = new Map<string, number>();
  const running = new Map<string, Promise<boolean>>();

  const remember = (id: string) => {
    if (verifiedUntil.size >= MAX_REMEMBERED) verifiedUntil.clear();
    verifiedUntil.set(id, clock.monotonicMs() + cacheMs);
  };
  return {
    async verify(user, password, hash) {
      if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return false;
      const id = createHmac('sha256', key)
        .update(JSON.stringify([user, password, hash]))
        .digest('base64');
      if ((verifiedUntil.get(id) ?? Number.NEGATIVE_INFINITY) > clock.monotonicMs()) return true;
      verifiedUntil.delete(id);
      const pending =
        running.get(id) ??
        gate(() => verify(password, hash)).finally(() => {
          running.delete(id);
        });
      running.set(id, pending);
      const verified = await pending;
      if (verified) remember(id);
      return verified;
    },
  };
}
