/** The house rules that no other tool checks. */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ERROR_CODES } from '../src/core/error-codes.ts';
import { SETTING_NAMES } from '../src/platform/settings/table.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** At the top: what git does not keep. */
const NOT_OURS = new Set(['node_modules', 'dist', 'build', 'demo', '.git']);
const MOST_LINES = { product: 400, test: 600 } as const;
/** In the table for the client's sake; the feature comes later. */
const CODES_TO_COME: readonly string[] = ['gone', 'quota'];

function filesBelow(directory: string): string[] {
  return readdirSync(path.join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const relative = path.join(directory, entry.name);
    if (NOT_OURS.has(relative)) return [];
    if (entry.isDirectory()) return filesBelow(relative);
    return entry.isFile() && !entry.name.endsWith('.log') ? [relative] : [];
  });
}

const FILES = filesBelow('.').sort();
const text = (file: string) => readFileSync(path.join(ROOT, file), 'utf8');
const isTest = (file: string) => /\.test\.ts$/.test(file) || file.startsWith('test/');
const SOURCES = FILES.filter((file) => file.startsWith('src/') && /\.tsx?$/.test(file));
const PRODUCT = SOURCES.filter((file) => !isTest(file) && !file.endsWith('.d.ts'));

interface Import {
  readonly from: string;
  readonly specifier: string;
  /** Relative to the root; null for packages. */
  readonly target: string | null;
  readonly typeOnly: boolean;
}

/** Static and dynamic imports; comments do not count. */
function importsOf(file: string): Import[] {
  const content = text(file)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[\w*\s{},$]+?\sfrom\s+)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g;
  return [...content.matchAll(pattern)].map((match) => {
    const specifier = match[2] ?? match[3] ?? '';
    const isRelative = specifier.startsWith('.');
    return {
      from: file,
      specifier,
      target: isRelative ? path.join(path.dirname(file), specifier) : null,
      typeOnly: match[1] !== undefined,
    };
  });
}

const IMPORTS = new Map(PRODUCT.map((file) => [file, importsOf(file)]));

/** Which part a file belongs to: the folder below src/, `main` for the entry. */
function partOf(file: string): string {
  const [, first = ''] = file.split('/');
  return first === 'main.ts' ? 'main' : first;
}

/** Who may import whom, besides themselves. */
const MATRIX: Readonly<Record<string, readonly string[]>> = {
  main: ['cli'],
  cli: ['server', 'failover', 'engine', 'link', 'platform', 'core'],
  server: ['engine', 'platform', 'core'],
  failover: ['platform', 'core'],
  engine: ['platform', 'core'],
  link: ['platform', 'core'],
  platform: ['core'],
  core: [],
};

describe('imports', () => {
  test('run one way', () => {
    const wrong = [...IMPORTS.values()]
      .flat()
      .filter(({ target }) => target?.startsWith('src/'))
      .filter(({ from, target }) => {
        const [a, b] = [partOf(from), partOf(target ?? '')];
        return a !== b && !(MATRIX[a] ?? []).includes(b);
      });
    expect(wrong.map(({ from, target }) => `${from} imports ${target}`)).toEqual([]);
  });

  test('the two engines do not know each other', () => {
    const wrong = [...IMPORTS.values()].flat().filter(({ from, target }) => {
      const engine = /^src\/engine\/(files|database)\//;
      const [a, b] = [engine.exec(from)?.[1], engine.exec(target ?? '')?.[1]];
      return a !== undefined && b !== undefined && a !== b;
    });
    expect(wrong.map(({ from, target }) => `${from} imports ${target}`)).toEqual([]);
  });

  test('make no circle', () => {
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, trail: readonly string[]): void => {
      if (trail.includes(file)) {
        circles.push([...trail.slice(trail.indexOf(file)), file].join(' > '));
        return;
      }
      if (done.has(file)) return;
      for (const { target, typeOnly } of IMPORTS.get(file) ?? []) {
        if (target !== null && !typeOnly) visit(target, [...trail, file]);
      }
      done.add(file);
    };
    for (const file of PRODUCT) visit(file, []);
    expect(circles).toEqual([]);
  });

  test('name files that are there, with their extension', () => {
    const missing = [...IMPORTS.values()]
      .flat()
      .filter(({ target }) => target?.startsWith('src/') && !FILES.includes(target));
    expect(missing.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });

  test('reach every file of the product', () => {
    const imported = new Set([...IMPORTS.values()].flat().map(({ target }) => target));
    const lonely = PRODUCT.filter((file) => file !== 'src/main.ts' && !imported.has(file));
    expect(lonely).toEqual([]);
  });

  test('keep libraries where they belong', () => {
    const home: Readonly<Record<string, RegExp>> = {
      hono: /^src\/server\//,
      'drizzle-orm': /^src\/engine\/database\//,
      postgres: /^src\/engine\/database\//,
      commander: /^src\/cli\//,
      '@parcel/watcher': /^src\/engine\/files\/watcher\//,
      '@logtape/logtape': /^src\/platform\//,
      'prom-client': /^src\/platform\//,
    };
    const wrong = [...IMPORTS.values()].flat().filter(({ from, specifier }) => {
      const name = Object.keys(home).find(
        (each) => specifier === each || specifier.startsWith(`${each}/`),
      );
      return name !== undefined && !home[name]?.test(from);
    });
    expect(wrong.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });
});

describe('the core is pure', () => {
  const core = PRODUCT.filter((file) => file.startsWith('src/core/'));
  const impure =
    /\bDate\.now\b|\bnew Date\(\s*\)|\bset(?:Timeout|Interval|Immediate)\b|\bprocess\.|\bMath\.random\b|\bperformance\.|\bBun\.|\bfetch\(|\bcrypto\./;

  test('no clock, no timer, no environment, no randomness', () => {
    const wrong = core.flatMap((file) =>
      text(file)
        .split('\n')
        .filter((line) => !/^\s*(?:\*|\/\/|\/\*)/.test(line) && impure.test(line))
        .map((line) => `${file}: ${line.trim()}`),
    );
    expect(wrong).toEqual([]);
  });

  test('nothing of Node or Bun', () => {
    const wrong = core
      .flatMap((file) => IMPORTS.get(file) ?? [])
      .filter(({ specifier }) => /^(?:node:|bun(?::|$))/.test(specifier));
    expect(wrong.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });
});

describe('files', () => {
  test(`have at most ${MOST_LINES.product} lines, tests ${MOST_LINES.test}`, () => {
    const long = FILES.filter((file) => /\.tsx?$/.test(file)).flatMap((file) => {
      const lines = text(file).trimEnd().split('\n').length;
      return lines > (isTest(file) ? MOST_LINES.test : MOST_LINES.product)
        ? [`${file}: ${lines}`]
        : [];
    });
    expect(long).toEqual([]);
  });

  test('have names that say what is in them', () => {
    const vague = /(?:^|\/)(?:utils?|helpers?|common|misc|index)\.tsx?$/;
    expect(FILES.filter((file) => vague.test(file))).toEqual([]);
  });

  test('hold no unfinished work', () => {
    const marks = new RegExp(['TO', 'DO|FIX', 'ME|X', 'XX'].join(''));
    expect(SOURCES.filter((file) => marks.test(text(file)))).toEqual([]);
  });

  test('name nothing outside the repository', () => {
    const words = [
      'registry\\.[a-z]+js\\.',
      'artifactory',
      '/work/',
      '/root/',
      '/home/(?!user\\b)[a-z]',
      '\\.\\./shared',
    ];
    const outside = new RegExp(words.join('|'));
    // The samples' place is told to the tests by what runs them; this file holds the words themselves.
    const allowed = new Set(['.ci/run', 'test/tidy.test.ts']);
    const found = FILES.filter((file) => !allowed.has(file)).flatMap((file) => {
      const match = outside.exec(text(file));
      return match ? [`${file}: ${match[0]}`] : [];
    });
    expect(found).toEqual([]);
  });

  test('in Markdown have one title', () => {
    const wrong = FILES.filter((file) => file.endsWith('.md')).filter((file) => {
      const prose = text(file).replace(/^```[\s\S]*?^```/gm, '');
      return prose.match(/^# /gm)?.length !== 1;
    });
    expect(wrong).toEqual([]);
  });

  test('links between documents lead somewhere', () => {
    const broken = FILES.filter((file) => file.endsWith('.md')).flatMap((file) =>
      [...text(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
        .map((match) => path.join(path.dirname(file), match[1] ?? ''))
        .filter(
          (target) =>
            !FILES.some(
              (each) => each === target || each.startsWith(`${target.replace(/\/$/, '')}/`),
            ),
        )
        .map((target) => `${file} links ${target}`),
    );
    expect(broken).toEqual([]);
  });
});

describe('tables are used', () => {
  const product = PRODUCT.map((file) => [file, text(file)] as const);

  test('every error code is thrown or answered somewhere', () => {
    const rest = product
      .filter(([file]) => file !== 'src/core/error-codes.ts')
      .map(([, content]) => content)
      .join('\n');
    const unused = Object.keys(ERROR_CODES).filter((code) => !rest.includes(`'${code}'`));
    expect(unused.filter((code) => !CODES_TO_COME.includes(code))).toEqual([]);
  });

  test('every setting reaches the configuration', () => {
    const reader = text('src/platform/settings/config.ts');
    const unread = SETTING_NAMES.filter(
      (name) =>
        name !== 'config' &&
        !new RegExp(
          `values\\.${name}\\b|values\\['${name}'\\]|required\\(values, '${name}'\\)`,
        ).test(reader),
    );
    expect(unread).toEqual([]);
  });

  test('every migration is in the list that the program carries', () => {
    const lists = product.filter(([file]) => file.startsWith('src/engine/database/'));
    const all = lists.map(([, content]) => content).join('\n');
    const unlisted = FILES.filter((file) => /^migrations\/.*\.sql$/.test(file)).filter(
      (file) => !all.includes(path.basename(file)),
    );
    expect(unlisted).toEqual([]);
  });
});
