/**
 * The hellos at the start of a lane. The dialer speaks first; the listener judges, and answers with
 * its own hello and WELCOME; the dialer judges that. Whoever refuses says why before it hangs up.
 */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ErrorCode } from '../core/error-codes.ts';
import { AppError, type AppErrorOptions, describeError } from '../core/errors.ts';
import { type Hello, judgeHello } from '../core/hello.ts';
import type { PairIdentity } from '../core/identity.ts';
import type { Clock } from '../core/ports.ts';
import { certificateSite, judgeCertificate, verifyCertificateProof } from './certificate.ts';
import { startDeadline } from './deadline.ts';
import { decodeJson, encodeJson, type FrameKind, HELLO, REFUSE, WELCOME } from './frames.ts';
import type { Lane } from './lane.ts';
import { HELLO_TIMEOUT_MS, MAX_REASON_CHARS } from './limits.ts';
import type { PeerMemory } from './peer-memory.ts';

/** Why no lane came to be; `reason` is for logs and counters. */
export class LinkError extends AppError {
  readonly reason: string;

  constructor(code: ErrorCode, reason: string, text: string, options: AppErrorOptions = {}) {
    super(code, text, options);
    this.reason = reason;
  }
}

export interface HandshakeContext {
  readonly identity: PairIdentity;
  readonly own: Hello;
  readonly memory: PeerMemory;
  readonly clock: Clock;
  /** The hello was accepted and remembered. */
  readonly onAdmitted: (hello: Hello) => void;
}

const REFUSED_BY_PEER = 'refused-by-peer:';

interface ReceivedFrame {
  readonly kind: FrameKind;
  readonly payload: Uint8Array;
}

/** Frames of a lane one by one, while nobody else owns it. */
function frameQueue(lane: Lane): { next(): Promise<ReceivedFrame>; release(): void } {
  const ready: ReceivedFrame[] = [];
  let failure: Error | null = null;
  let wake: (() => void) | null = null;
  const notify = () => {
    wake?.();
    wake = null;
  };
  lane.receiver = {
    data: () => lane.destroy('the other end sent data before its hello'),
    control(kind, payload) {
      // Two hello frames are all that can be under way; an OPEN must wait for WELCOME.
      if (ready.length >= 2) return lane.destroy('the other end talks before it is known');
      ready.push({ kind, payload });
      notify();
    },
    lost(error) {
      failure = error;
      notify();
    },
  };
  return {
    async next() {
      for (;;) {
        const frame = ready.shift();
        if (frame) return frame;
        if (failure) throw failure;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    release: () => {
      if (lane.isOpen) lane.receiver = null;
    },
  };
}

function peerRefusal(payload: Uint8Array): LinkError {
  const raw = decodeJson(payload) as { code?: unknown; message?: unknown } | undefined;
  const message = typeof raw?.message === 'string' ? raw.message : 'no reason given';
  const code = typeof raw?.code === 'string' ? raw.code : 'unknown';
  return new LinkError(
    'peer-refused',
    `${REFUSED_BY_PEER}${code.slice(0, 40)}`,
    `the other end refused: ${message.slice(0, MAX_REASON_CHARS)}`,
  );
}

/** The certificate a finished TLS handshake proved, or null when the other end has none. */
function peerCertificate(socket: TLSSocket): X509Certificate | null {
  // With no certificate getPeerCertificate gives null or {}, which the type does not say.
  const raw = (socket.getPeerCertificate(true) as { raw?: Uint8Array } | null | undefined)?.raw;
  return raw ? new X509Certificate(raw) : null;
}

/** Certificate and hello together: who may pass, and why another may not. */
async function admit(
  context: HandshakeContext,
  certificate: X509Certificate | null,
  payload: Uint8Array,
): Promise<Hello> {
  const { identity, own, memory, clock } = context;
  if (!certificate)
    throw new LinkError(
      'peer-refused',
      'no-certificate',
      'the other end has no certificate of the pair',
    );
  const proved = judgeCertificate(certificate, identity, clock.wallMs());
  if (!proved.known && proved.fatal)
    throw new LinkError('peer-refused', 'certificate', proved.text);
  const verdict = judgeHello(decodeJson(payload), own, identity.peer, memory.known());
  if (!verdict.ok) throw new LinkError('peer-refused', verdict.reason, verdict.text);
  const { hello } = verdict;
  if (!proved.known && !verifyCertificateProof(identity, certificate, hello.certificateProof))
    throw new LinkError(
      'peer-refused',
      'other-ca',
      `the certificate shown for site ${hello.site} is not of the pair of site ${own.site}: use the two files of one \`twinsite pair\``,
    );
  const named = certificateSite(certificate);
  if (named !== hello.site)
    throw new LinkError(
      'peer-refused',
      'wrong-site',
      `the certificate is for site ${named ?? 'nobody'}, the hello from site ${hello.site}`,
    );
  if (verdict.newStart)
    await memory.remember(hello).catch((error: unknown) => {
      throw new LinkError(
        'peer-refused',
        'memory',
        `site ${own.site} cannot write down the start of site ${hello.site}: ${describeError(error)}`,
      );
    });
  // Two starts may have been judged at once while the first was being written: look again.
  const again = judgeHello(hello, own, identity.peer, memory.known());
  if (!again.ok) throw new LinkError('peer-refused', again.reason, again.text);
  return hello;
}

/**
 * Introduces both ends on a new connection within HELLO_TIMEOUT_MS. Resolves with the peer's hello
 * when both accepted; otherwise the lane is cut and a LinkError says why. Until it resolves the lane
 * counts as a stranger's.
 */
export async function introduce(
  lane: Lane,
  socket: TLSSocket,
  role: 'dialer' | 'listener',
  context: HandshakeContext,
  signal: AbortSignal,
): Promise<Hello> {
  const deadline = startDeadline(context.clock, HELLO_TIMEOUT_MS, signal, 'The hello');
  const giveUp = () => lane.destroy('no hello in time');
  deadline.signal.addEventListener('abort', giveUp, { once: true });
  const frames = frameQueue(lane);
  try {
    const certificate = peerCertificate(socket);
    const own = encodeJson(context.own);
    if (role === 'dialer') await lane.write(HELLO, own);
    const first = await frames.next();
    if (first.kind === REFUSE) throw peerRefusal(first.payload);
    if (first.kind !== HELLO)
      throw new LinkError(
        'peer-refused',
        'not-twinsite',
        'the other end did not begin with a hello',
      );
    const hello = await admit(context, certificate, first.payload);
    if (role === 'listener') await lane.write(HELLO, own);
    else {
      const second = await frames.next();
      if (second.kind === REFUSE) throw peerRefusal(second.payload);
      if (second.kind !== WELCOME)
        throw new LinkError('peer-refused', 'not-twinsite', 'the other end gave no welcome');
    }
    if (!lane.isOpen) throw new LinkError('peer-unreachable', 'closed', 'the other end hung up');
    frames.release();
    lane.peerInstance = hello.instanceId;
    lane.peerVersion = hello.version;
    context.onAdmitted(hello);
    return hello;
  } catch (error) {
    if (error instanceof LinkError) {
      if (error.reason.startsWith(REFUSED_BY_PEER)) lane.destroy(error.message);
      else lane.sayAndDestroy(REFUSE, error.reason, error.message);
      throw error;
    }
    if (deadline.signal.aborted)
      throw new LinkError('peer-timeout', 'hello-timeout', 'the other end sent no hello in time');
    lane.destroy('the hello failed');
    throw new LinkError(
      'peer-unreachable',
      'closed',
      `the other end hung up during the hello (${describeError(error)})`,
      { cause: error },
    );
  } finally {
    deadline.signal.removeEventListener('abort', giveUp);
    deadline.done();
  }
}
