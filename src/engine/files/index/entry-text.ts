/** Entries as JSON: in the need list and between the sites. What the peer sends is parsed here. */
import { z } from 'zod';
import type { SiteName } from '../../../core/ids.ts';
import type { EntryType, ManifestEntry } from '../../../core/manifest.ts';
import { checkTreePath, latin1FromBytes } from '../../../core/tree-path.ts';

const MAX_BASE64 = 24_000;
const SITE = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/);
const COUNT = z.int().min(0);
const TYPES = { f: 'file', d: 'dir', l: 'symlink' } as const satisfies Record<string, EntryType>;
const LETTERS = { file: 'f', dir: 'd', symlink: 'l' } as const satisfies Record<EntryType, string>;

/** One entry as it travels; keys are short because there are many. */
export const ENTRY = z
  .strictObject({
    /** Path, base64. */
    p: z.base64().max(MAX_BASE64),
    t: z.enum(['f', 'd', 'l']),
    x: z.boolean(),
    s: COUNT,
    h: z.string().regex(/^([0-9a-f]{64})?$/),
    /** Symlink target, base64. */
    l: z.base64().max(8_000).nullable(),
    m: z.int().min(0).max(0o7777),
    u: COUNT.max(0xffffffff),
    g: COUNT.max(0xffffffff),
    /** Nanoseconds since 1970. */
    n: z.string().regex(/^-?\d{1,20}$/),
    v: z
      .record(z.string().max(100), COUNT)
      .refine((vector) => Object.keys(vector).length <= 256, 'too many writers'),
    w: z.tuple([COUNT, SITE, z.boolean(), COUNT, SITE]),
    /** The hash of what it was written on top of. */
    b: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .nullable(),
    e: z.string().max(100).nullable(),
  })
  .refine((e) => (e.t === 'd') === (e.h === ''), 'a hash belongs to files and symlinks')
  .refine((e) => e.x || (e.t === 'l') === (e.l !== null), 'a target belongs to symlinks');

export type WireEntry = z.infer<typeof ENTRY>;

export function toWire(entry: ManifestEntry): WireEntry {
  const { stamp } = entry;
  return {
    p: Buffer.from(entry.path, 'latin1').toString('base64'),
    t: LETTERS[entry.type],
    x: entry.deleted,
    s: entry.size,
    h: entry.hash,
    l: entry.target === null ? null : Buffer.from(entry.target, 'latin1').toString('base64'),
    m: entry.mode,
    u: entry.uid,
    g: entry.gid,
    n: entry.mtimeNs.toString(),
    v: { ...entry.version },
    w: [stamp.epochNumber, stamp.epochSite, stamp.holder, stamp.seq, stamp.site],
    b: entry.base,
    e: entry.evidence,
  };
}

/** Null when the path leads out of the replicated tree, or the target is none. */
export function fromWire(wire: WireEntry): ManifestEntry | null {
  const path = checkTreePath(Buffer.from(wire.p, 'base64'));
  const target = wire.l === null ? null : latin1FromBytes(Buffer.from(wire.l, 'base64'));
  if (path === null || target?.includes('\u0000') || target === '') return null;
  const [epochNumber, epochSite, holder, seq, site] = wire.w;
  return {
    path,
    type: TYPES[wire.t],
    deleted: wire.x,
    size: wire.s,
    hash: wire.h,
    target,
    mode: wire.m,
    uid: wire.u,
    gid: wire.g,
    mtimeNs: BigInt(wire.n),
    version: wire.v,
    stamp: {
      epochNumber,
      epochSite: epochSite as SiteName,
      holder,
      seq,
      site: site as SiteName,
    },
    base: wire.b,
    evidence: wire.e,
  };
}

export function encodeEntry(entry: ManifestEntry): string {
  return JSON.stringify(toWire(entry));
}

/** Of text that encodeEntry made. */
export function decodeEntry(text: string): ManifestEntry {
  const entry = fromWire(JSON.parse(text) as WireEntry);
  if (!entry) throw new Error('the need list holds a path that leads out of the store');
  return entry;
}
