import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { SiteName } from './ids.ts';
import { baseOf, type ManifestEntry, sameContent, sameMetadata } from './manifest.ts';
import { mustTellAgain, reconcile } from './reconcile.ts';
import type { TreePath } from './tree-path.ts';
import { bumpVector, compareVectors, writerKey } from './version-vector.ts';

const PATH = 'f' as TreePath;

/** One site with one path: what is on its disk, in its index, and what it keeps aside. */
class ModelSite {
  readonly name: SiteName;
  entry: ManifestEntry | null = null;
  incarnation = 1;
  seq = 0;
  epoch = 1;
  readonly kept = new Set<string>();

  constructor(name: string) {
    this.name = name as SiteName;
  }

  #stamp(seq: number): ManifestEntry['stamp'] {
    const epochSite = (this.epoch % 2 === 1 ? 'a' : 'b') as SiteName;
    const holder = epochSite === this.name;
    return { epochNumber: this.epoch, epochSite, holder, seq, site: this.name };
  }

  write(change: Partial<ManifestEntry>): void {
    this.seq += 1;
    const writer = writerKey(this.name, String(this.incarnation));
    const base: ManifestEntry = this.entry ?? {
      path: PATH,
      type: 'file',
      deleted: false,
      size: 0,
      hash: 'empty',
      target: null,
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      version: {},
      stamp: this.#stamp(0),
      base: null,
      evidence: null,
    };
    this.untold = true;
    if (!base.deleted && change.hash !== undefined) this.kept.add(base.hash);
    this.entry = {
      ...base,
      deleted: false,
      ...change,
      base: base.deleted ? null : baseOf(base, this.name),
      version: bumpVector(base.version, writer, this.seq),
      stamp: this.#stamp(this.seq),
    };
  }

  /** The index is lost; what a scan then finds has no history. */
  loseIndex(): void {
    this.incarnation += 1;
    this.seq = 1;
    if (this.entry?.deleted) this.entry = null;
    else if (this.entry) this.entry = { ...this.entry, version: {}, stamp: this.#stamp(1) };
  }

  /** The peer has not heard of the entry as it is. */
  untold = false;

  take(remote: ManifestEntry | null): boolean {
    if (!remote) return false;
    const local = this.entry ? { entry: this.entry, missing: false } : null;
    const decision = reconcile(local, remote, (hash) => this.kept.has(hash));
    if (decision.kind === 'none' || decision.kind === 'keep') {
      if (this.entry && mustTellAgain(this.entry, remote)) this.untold = true;
      return false;
    }
    const losesContent = decision.kind === 'fetch' || decision.kind === 'delete';
    if (losesContent && this.entry && !this.entry.deleted) this.kept.add(this.entry.hash);
    const isTheirs = compareVectors(decision.entry.version, remote.version) === 'equal';
    this.untold = this.untold && !isTheirs;
    this.entry = decision.entry;
    return true;
  }
}

type Step =
  | { readonly kind: 'write'; readonly at: 0 | 1; readonly hash: string }
  | { readonly kind: 'delete' | 'chmod' | 'lose' | 'epoch' | 'remember'; readonly at: 0 | 1 }
  /** The other's entry, as it is now or as it was when remembered. */
  | { readonly kind: 'deliver' | 'redeliver'; readonly at: 0 | 1 }
  /** What the other has not heard. */
  | { readonly kind: 'tell'; readonly at: 0 | 1 };

const at = fc.constantFrom<0 | 1>(0, 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    at,
    hash: fc.constantFrom('h1', 'h2', 'h3', 'h4'),
  }),
  fc.record({ kind: fc.constantFrom('delete' as const, 'chmod', 'epoch', 'remember'), at }),
  fc.record({ kind: fc.constantFrom('deliver' as const, 'deliver', 'redeliver'), at }),
);
const stepOrLoss: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: step },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose' as const), at }) },
);

function run(steps: readonly Step[]) {
  const sites = [new ModelSite('a'), new ModelSite('b')] as const;
  const written = new Set<string>();
  const remembered: (ManifestEntry | null)[] = [null, null];
  for (const each of steps) {
    const site = sites[each.at];
    const other = sites[each.at === 0 ? 1 : 0];
    if (each.kind === 'write') {
      site.write({ hash: each.hash });
      written.add(each.hash);
    } else if (each.kind === 'delete') {
      if (site.entry && !site.entry.deleted) {
        site.kept.add(site.entry.hash);
        site.write({ deleted: true });
      }
    } else if (each.kind === 'chmod') {
      if (site.entry && !site.entry.deleted) site.write({ mode: 0o600 + site.seq });
    } else if (each.kind === 'lose') {
      site.loseIndex();
      remembered[each.at] = null;
    } else if (each.kind === 'epoch') {
      site.epoch += 1;
    } else if (each.kind === 'remember') {
      remembered[each.at] = site.entry;
    } else if (each.kind === 'tell') {
      if (site.untold) {
        site.untold = false;
        other.take(site.entry);
      }
    } else if (each.kind === 'deliver') {
      site.take(other.entry);
    } else {
      site.take(remembered[each.at === 0 ? 1 : 0] ?? null);
    }
  }
  return { sites, written };
}

/** Both hear of each other until nothing changes; fails when that does not end. */
function settle(sites: readonly [ModelSite, ModelSite], first: 0 | 1): void {
  for (let round = 0; round < 10; round += 1) {
    const [one, other] = first === 0 ? sites : [sites[1], sites[0]];
    const changed = [one.take(other.entry), other.take(one.entry)];
    if (!changed.includes(true)) return;
  }
  throw new Error('it does not converge');
}

/** As the journals do it: only what the other has not heard is told, each once. */
function tellAll(sites: readonly [ModelSite, ModelSite], first: 0 | 1): void {
  for (let round = 0; round < 20; round += 1) {
    const [one, other] = first === 0 ? sites : [sites[1], sites[0]];
    if (!one.untold && !other.untold) return;
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      if (!from.untold) continue;
      from.untold = false;
      to.take(from.entry);
    }
  }
  throw new Error('it does not end');
}

function look(entry: ManifestEntry | null): string {
  return !entry || entry.deleted ? 'absent' : `${entry.hash} ${entry.mode}`;
}

describe('reconcile', () => {
  test('both sites end with the same content and metadata, whatever happened and whoever hears first', () => {
    fc.assert(
      fc.property(fc.array(stepOrLoss, { maxLength: 40 }), at, (steps, first) => {
        const { sites } = run(steps);
        settle(sites, first);
        expect(look(sites[0].entry)).toBe(look(sites[1].entry));
      }),
      { numRuns: 3_000 },
    );
  });

  test('journals that tell each version once are enough', () => {
    const told: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ kind: fc.constant('write' as const), at, hash: fc.constantFrom('h1', 'h2') }),
      fc.record({ kind: fc.constantFrom('delete' as const, 'chmod', 'epoch'), at }),
      fc.record({ kind: fc.constant('tell' as const), at }),
    );
    fc.assert(
      fc.property(fc.array(told, { maxLength: 30 }), at, (steps, first) => {
        const { sites } = run(steps);
        tellAll(sites, first);
        expect(look(sites[0].entry)).toBe(look(sites[1].entry));
      }),
      { numRuns: 10_000 },
    );
  });

  test('the order of hearing does not change the outcome', () => {
    fc.assert(
      fc.property(fc.array(stepOrLoss, { maxLength: 30 }), (steps) => {
        const [x, y] = [run(steps).sites, run(steps).sites];
        settle(x, 0);
        settle(y, 1);
        expect(look(x[0].entry)).toBe(look(y[0].entry));
      }),
      { numRuns: 2_000 },
    );
  });

  test('hearing the same thing twice changes nothing', () => {
    fc.assert(
      fc.property(fc.array(stepOrLoss, { maxLength: 30 }), (steps) => {
        const { sites } = run(steps);
        sites[0].take(sites[1].entry);
        const once = sites[0].entry;
        expect(sites[0].take(sites[1].entry)).toBe(false);
        expect(sites[0].entry).toBe(once);
      }),
      { numRuns: 2_000 },
    );
  });

  test('every content written is live somewhere or kept aside somewhere', () => {
    fc.assert(
      fc.property(fc.array(stepOrLoss, { maxLength: 40 }), at, (steps, first) => {
        const { sites, written } = run(steps);
        settle(sites, first);
        for (const hash of written) {
          const held = sites.some(
            (site) => site.kept.has(hash) || look(site.entry).startsWith(hash),
          );
          expect(held).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('what was deleted at one site while both agreed stays deleted', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), at, at, (steps, deleter, first) => {
        const { sites } = run(steps);
        settle(sites, first);
        const before = sites.map((site) => site.entry);
        sites[deleter].write({ deleted: true });
        settle(sites, first);
        // Even when what both had is told once more.
        for (const [index, site] of sites.entries()) site.take(before[1 - index] ?? null);
        expect(sites.map((site) => look(site.entry))).toEqual(['absent', 'absent']);
      }),
      { numRuns: 2_000 },
    );
  });

  test('a deletion never removes content written at the other site meanwhile', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), at, at, (steps, deleter, first) => {
        const { sites } = run(steps);
        settle(sites, first);
        const writer = sites[deleter === 0 ? 1 : 0];
        sites[deleter].write({ deleted: true });
        writer.epoch = Math.max(1, writer.epoch - 1);
        writer.write({ hash: 'new' });
        settle(sites, first);
        expect(sites.map((site) => site.entry?.hash)).toEqual(['new', 'new']);
        expect(sites.map((site) => site.entry?.deleted)).toEqual([false, false]);
      }),
      { numRuns: 1_000 },
    );
  });

  test('content without history loses to any version and is kept when its bytes are unknown', () => {
    const [a, b] = [new ModelSite('a'), new ModelSite('b')];
    a.write({ hash: 'old' });
    a.loseIndex();
    b.write({ hash: 'theirs' });
    const found = { entry: a.entry as ManifestEntry, missing: false };
    expect(reconcile(found, b.entry as ManifestEntry, () => false)).toMatchObject({
      kind: 'fetch',
      displaced: 'conflict',
    });
    expect(reconcile(found, b.entry as ManifestEntry, () => true)).toMatchObject({
      kind: 'fetch',
      displaced: 'trash',
    });
    const theirs = { entry: b.entry as ManifestEntry, missing: false };
    expect(reconcile(theirs, a.entry as ManifestEntry, () => false).kind).toBe('none');
  });

  test('a directory beats a file of its name at both sites', () => {
    const [a, b] = [new ModelSite('a'), new ModelSite('b')];
    a.write({ hash: 'h' });
    b.write({ hash: '', type: 'dir' });
    settle([a, b], 0);
    expect([a.entry?.type, b.entry?.type]).toEqual(['dir', 'dir']);
  });

  test('lost bytes are brought back by whatever holds the same content', () => {
    const a = new ModelSite('a');
    a.write({ hash: 'h' });
    const entry = a.entry as ManifestEntry;
    const decision = reconcile({ entry, missing: true }, entry, () => false);
    expect(decision.kind).toBe('fetch');
    expect(sameContent(entry, entry) && sameMetadata(entry, entry)).toBe(true);
    const tombstone = { ...entry, deleted: true, version: { ...entry.version, 'b/1': 1 } };
    expect(reconcile({ entry, missing: true }, tombstone, () => false).kind).toBe('join');
  });
});
