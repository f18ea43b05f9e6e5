/**
 * The seed's story in steps. Each step does something, checks what must then be true, and returns
 * what it saw as a sentence; it throws what was expected and what was there instead.
 */
import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import path from 'node:path';
import { formatDuration, formatSize } from '../../core/units.ts';
import { systemClock } from '../../platform/clock.ts';
import { Application } from './application.ts';
import { Client, makeAccounts } from './service.ts';
import {
  depositAndNote,
  expectTrue,
  linesKept,
  links,
  linkTarget,
  readAll,
  rowText,
  type Story,
  type StoryStep,
  whenPaired,
} from './story-world.ts';
import { differences, hashTree } from './trees.ts';
import { waitFor } from './wait.ts';

/** --lost-after is 6 s; taking over and flipping may take two more. */
const FLIP_DEADLINE_MS = 9_000;
/** These need a few seconds; there is room for a busy machine. */
const START_DEADLINE_MS = 60_000;
const REJOIN_DEADLINE_MS = 60_000;
const EQUAL_DEADLINE_MS = 60_000;

const TEXT = `You may read, copy and give away this text, with or without changes, for any purpose.
It comes with no promise of any kind: whoever uses it does so at their own risk.
`;

const bothStart: StoryStep = {
  title: 'two sites start, meet and pair',
  run: async (story) => {
    await Promise.all([story.a.start(), story.b.start()]);
    await Promise.all([story.a, story.b].map((site) => whenPaired(story, site, START_DEADLINE_MS)));
    const [atA, atB] = [await linkTarget(story.a), await linkTarget(story.b)];
    const expectedAtB = story.topology === 't1' ? story.a.layout.store : story.b.layout.store;
    expectTrue(atA === story.a.layout.store, `A's link -> ${story.a.layout.store}`, atA);
    expectTrue(atB === expectedAtB, `B's link -> ${expectedAtB}`, atB);
    const token = await makeAccounts(story.a);
    story.clientA = new Client(story.a, token);
    story.clientB = new Client(story.b, token);
    await Promise.all([story.clientA.known(), story.clientB.known()]);
    return `both ready; filestore at A -> ${path.basename(atA)}, at B -> ${path.basename(atB)}; an account made at A is known at B`;
  },
};

const depositAtA: StoryStep = {
  title: 'real files are deposited at A',
  run: async (story) => {
    const files: readonly (readonly [string, Uint8Array])[] = [
      ['conditions.txt', new TextEncoder().encode(TEXT)],
      ['page.bin', randomBytes(4 * 1024)],
      ['article.bin', randomBytes(300 * 1024)],
      ['data set.bin', randomBytes(9 * 1024 * 1024)],
    ];
    let total = 0;
    for (const [name, body] of files) {
      const receipt = await depositAndNote(story, story.clientA, name, body);
      expectTrue(receipt.durability === 'both', `durability both for ${name}`, receipt.durability);
      total += body.length;
    }
    return `${files.length} receipts say both, ${formatSize(total)}`;
  },
};

const readAtB: StoryStep = {
  title: 'they are read at B',
  run: (story) => readAll(story, story.clientB),
};

const applicationStarts: StoryStep = {
  title: 'an application appends to a file through B’s filestore',
  run: async (story) => {
    const application = await Application.start(story.b.layout.filestore);
    story.application = application;
    const store = await linkTarget(story.b);
    const other = store === story.a.layout.store ? story.b.layout.store : story.a.layout.store;
    const begun = systemClock.monotonicMs();
    await waitFor('ten lines written', () => application.written.length >= 10, {
      timeoutMs: 10_000,
      seen: () => `${application.written.length} lines; ${application.errors.join('; ')}`,
    });
    await waitFor(
      `app/log.txt in ${path.basename(other)} too`,
      () =>
        fs.stat(path.join(other, 'app', 'log.txt')).then(
          (found) => found.size > 0,
          () => false,
        ),
      { signal: story.signal, timeoutMs: 20_000 },
    );
    const user = application.uid === null ? 'the same user' : `user ${application.uid}`;
    const took = formatDuration(systemClock.monotonicMs() - begun);
    return `runs as ${user}, writes into ${path.basename(store)}; replicated to ${path.basename(other)} within ${took}`;
  },
};

const siteADies: StoryStep = {
  title: 'site A is killed (SIGKILL: the process and its PostgreSQL)',
  run: async (story) => {
    story.killedAtMs = systemClock.monotonicMs();
    await story.a.destroy();
    return 'nothing of it runs';
  },
};

/** Small deposits at B without a pause, from the kill until `until` resolves; the longest gap in ms. */
async function depositWhile(story: Story, until: Promise<unknown>): Promise<[number, number]> {
  let over = false;
  const ended = until.finally(() => {
    over = true;
  });
  let last = story.killedAtMs;
  let longest = 0;
  let count = 0;
  try {
    while (!over && !story.signal.aborted) {
      const body = randomBytes(1024);
      await depositAndNote(story, story.clientB, `during outage ${count + 1}.bin`, body);
      const now = systemClock.monotonicMs();
      longest = Math.max(longest, now - last);
      last = now;
      count += 1;
      await systemClock.sleep(100);
    }
  } finally {
    await ended;
  }
  return [count, longest];
}

const siteBTakesOver: StoryStep = {
  title: 'B goes on taking deposits, and takes over',
  run: async (story) => {
    const { b, topology } = story;
    let seen = '';
    const takenOver = waitFor(
      topology === 't1' ? 'B’s link -> san_B' : 'B holds alone',
      async () => {
        if (topology === 't1') {
          seen = await linkTarget(b);
          return seen === b.layout.store;
        }
        const status = await b.status();
        seen = `${status?.state}, holder ${status?.holder}`;
        return status?.state === 'alone' && status.holder === b.name;
      },
      { signal: story.signal, timeoutMs: FLIP_DEADLINE_MS, everyMs: 5, seen: () => seen },
    ).then(() => systemClock.monotonicMs() - story.killedAtMs);
    const [count, longest] = await depositWhile(story, takenOver);
    const flip = formatDuration(await takenOver);
    const link = topology === 't1' ? `link flipped ${flip} after the kill` : `held after ${flip}`;
    return `${link}; ${count} deposits meanwhile, longest gap ${formatDuration(longest)}`;
  },
};

const applicationGoesOn: StoryStep = {
  title: 'the application goes on in san_B, none the wiser',
  run: async (story) => {
    const { application } = story;
    if (!application) throw new Error('the application never started');
    const file = path.join(story.b.layout.store, 'app', 'log.txt');
    const first = (application.written.at(-1)?.number ?? 0) + 2;
    await waitFor(
      `line ${first + 5} in san_B/app/log.txt`,
      async () => {
        const text = await fs.readFile(file, 'utf8').catch(() => '');
        return text.includes(`line ${first + 5}\n`);
      },
      {
        signal: story.signal,
        timeoutMs: 10_000,
        seen: () =>
          `last line ${application.written.at(-1)?.number}; ${application.errors[0] ?? ''}`,
      },
    );
    expectTrue(application.errors.length === 0, 'no error', application.errors.join('; '));
    const gap = formatDuration(application.longestGapMs(story.killedAtMs));
    return `no line failed, longest gap ${gap}`;
  },
};

const depositAtB: StoryStep = {
  title: 'B alone takes a deposit and gives everything out',
  run: async (story) => {
    const body = randomBytes(64 * 1024);
    const receipt = await depositAndNote(story, story.clientB, 'while A is away.bin', body);
    expectTrue(receipt.durability === 'local', 'durability local', receipt.durability);
    return `the receipt says local; ${await readAll(story, story.clientB)}`;
  },
};

const siteAReturns: StoryStep = {
  title: 'A returns, and every receipt says both at both sites',
  run: async (story) => {
    await story.a.start();
    await Promise.all(
      [story.a, story.b].map((site) => whenPaired(story, site, REJOIN_DEADLINE_MS)),
    );
    for (const client of [story.clientA, story.clientB]) {
      for (const { receipt } of story.deposits) {
        let seen = '';
        await waitFor(
          `the receipt of ${receipt.id} says both`,
          async () => {
            seen = await client.receipt(receipt.id).then(
              (now) => now.durability,
              (error: unknown) => String(error),
            );
            return seen === 'both';
          },
          { signal: story.signal, timeoutMs: EQUAL_DEADLINE_MS, seen: () => seen },
        );
      }
    }
    return `${story.deposits.length} receipts; ${await readAll(story, story.clientA)}`;
  },
};

const bothEqual: StoryStep = {
  title: 'both sites are equal',
  run: async (story) => {
    const { a, b, application } = story;
    await application?.stop();
    let found: string[] = [];
    const tree = await waitFor(
      'equal trees in san_A and san_B',
      async () => {
        const [atA, atB] = await Promise.all([hashTree(a.layout.store), hashTree(b.layout.store)]);
        found = differences(atA, atB);
        return found.length === 0 ? atA : null;
      },
      {
        signal: story.signal,
        timeoutMs: EQUAL_DEADLINE_MS,
        everyMs: 250,
        seen: () => found.join('; '),
      },
    );
    if (application) await linesKept(story, application);
    const lists = await Promise.all([story.clientA.all(), story.clientB.all()]);
    const [rowsA = '', rowsB = ''] = lists.map((list) => JSON.stringify(list.map(rowText).sort()));
    expectTrue(
      rowsA === rowsB,
      'equal lists of deposits',
      `${rowsA.length}, ${rowsB.length} bytes`,
    );
    const missing = story.deposits.find(({ receipt }) => !rowsA.includes(receipt.id));
    expectTrue(missing === undefined, 'every deposit listed', `without ${missing?.receipt.id}`);
    return `${tree.size} entries hashed in each store, ${lists[0]?.length ?? 0} deposits listed at each; ${await links(story)}`;
  },
};

export const STORY: readonly StoryStep[] = [
  bothStart,
  depositAtA,
  readAtB,
  applicationStarts,
  siteADies,
  siteBTakesOver,
  applicationGoesOn,
  depositAtB,
  siteAReturns,
  bothEqual,
];
