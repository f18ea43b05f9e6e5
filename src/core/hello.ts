/**
 * What two sites tell each other first on every new connection, and the pure judgement of it. The
 * texts name sites, never "this" or "that" one: the same sentence is logged at both ends.
 */
import { z } from 'zod';

export const HELLO_MAGIC = 'twinsite-link';

export interface Hello {
  readonly magic: typeof HELLO_MAGIC;
  readonly protocol: number;
  readonly version: string;
  readonly pairId: string;
  readonly site: string;
  /** Random for each process. */
  readonly instanceId: string;
  /** Higher at each start of a site, across loss of its data. */
  readonly startCounter: number;
  /** Base64; the receipt key's signature under the TLS certificate, for peers that do not know its CA. */
  readonly certificateProof: string;
}

/** The newest start of the peer that was ever met. */
export interface KnownStart {
  readonly startCounter: number;
  readonly instanceId: string;
}

export type HelloRefusal =
  | 'not-twinsite'
  | 'protocol'
  | 'other-pair'
  | 'own-identity'
  | 'wrong-site'
  | 'clone';

export type HelloVerdict =
  /** `newStart`: a start of the peer not met before; remember it durably before going on. */
  | { readonly ok: true; readonly hello: Hello; readonly newStart: boolean }
  | { readonly ok: false; readonly reason: HelloRefusal; readonly text: string };

// Read by every build for ever: enough to name the older site.
const everyProtocol = z.object({
  magic: z.literal(HELLO_MAGIC),
  protocol: z.int().min(0),
  version: z.string().max(100),
  site: z.string().max(32),
});

const thisProtocol = everyProtocol.extend({
  pairId: z.string().max(64),
  instanceId: z.string().min(8).max(64),
  startCounter: z.int().min(0),
  certificateProof: z.string().max(200),
});

function protocolText(
  own: { readonly site: string; readonly protocol: number; readonly version: string },
  theirs: { readonly site: string; readonly protocol: number; readonly version: string },
): string {
  const [older, newer] = own.protocol < theirs.protocol ? [own, theirs] : [theirs, own];
  return `site ${older.site} (version ${older.version}, protocol ${older.protocol}) is too old for site ${newer.site} (version ${newer.version}, protocol ${newer.protocol}): update site ${older.site}, one release at a time`;
}

/**
 * Judges the peer's hello. `raw` is untrusted; `peer` is the site this identity is paired with;
 * `known` is the newest start of it ever met. Looks at nothing else: the certificate is judged apart.
 */
export function judgeHello(
  raw: unknown,
  own: Hello,
  peer: string,
  known: KnownStart | null,
): HelloVerdict {
  const refuse = (reason: HelloRefusal, text: string) => ({ ok: false, reason, text }) as const;
  const basics = everyProtocol.safeParse(raw);
  if (!basics.success)
    return refuse('not-twinsite', 'the other end does not speak as a Twinsite peer');
  if (Math.abs(basics.data.protocol - own.protocol) > 1)
    return refuse('protocol', protocolText(own, basics.data));
  const parsed = thisProtocol.safeParse(raw);
  if (!parsed.success) return refuse('not-twinsite', 'the hello of the other end cannot be read');
  const hello = parsed.data;
  if (hello.pairId !== own.pairId)
    return refuse(
      'other-pair',
      `site ${hello.site} belongs to pair ${hello.pairId}, site ${own.site} to pair ${own.pairId}: use the two files of one \`twinsite pair\``,
    );
  if (hello.site === own.site)
    return refuse(
      'own-identity',
      `site ${own.site} met its own identity: the peer’s address leads back to site ${own.site}, or both hosts use the file of site ${own.site}`,
    );
  if (hello.site !== peer)
    return refuse('wrong-site', `site ${own.site} expects site ${peer}, not ${hello.site}`);
  return judgeStart(hello, known);
}

function judgeStart(hello: Hello, known: KnownStart | null): HelloVerdict {
  if (!known || hello.startCounter > known.startCounter) return { ok: true, hello, newStart: true };
  if (hello.startCounter === known.startCounter && hello.instanceId === known.instanceId)
    return { ok: true, hello, newStart: false };
  return {
    ok: false,
    reason: 'clone',
    text: `the identity of site ${hello.site} is in use by another machine, or an older process of it still runs: a later start of it was met before (${known.startCounter}, now ${hello.startCounter}). Stop the one that should not run, then restart site ${hello.site}`,
  };
}
