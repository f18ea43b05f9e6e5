/** The command line as a person meets it: exit codes, one line of error, help with examples. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import type { CommandContext } from '../../src/cli/command-shape.ts';
import { exitCodeOf, failureText } from '../../src/cli/failure.ts';
import { alignColumns, recordTable } from '../../src/cli/output/table.ts';
import { createOutput } from '../../src/cli/output/terminal.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { AppError } from '../../src/core/errors.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
let directory = '';
let socket = '';
let server: { stop(force: boolean): unknown } | null = null;
const asked: { method: string; path: string; body: unknown }[] = [];

beforeAll(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-cli-'));
  socket = path.join(directory, 'admin.sock');
  server = Bun.serve({
    unix: socket,
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      const text = await request.text();
      const body: unknown = text === '' ? null : JSON.parse(text);
      asked.push({ method: request.method, path: pathname, body });
      return answer(request.method, pathname);
    },
  });
});
afterAll(async () => {
  await server?.stop(true);
  await fs.rm(directory, { recursive: true });
});

/** What a site answers, recorded by hand from its routes. */
function answer(method: string, pathname: string): Response {
  if (method === 'GET' && pathname === '/collections') {
    return Response.json({ items: [{ name: 'papers', title: null }] });
  }
  if (pathname === '/collections') return Response.json({ name: 'papers', title: null });
  if (method === 'GET' && pathname === '/depositors') {
    const rights = { papers: ['deposit', 'read'] };
    return Response.json({ items: [{ name: 'alice', disabled: false, rights }] });
  }
  if (pathname === '/depositors' || pathname.endsWith('/token')) {
    return Response.json({ name: 'alice', token: 'secret-token' }, { status: 201 });
  }
  if (pathname === '/switchover') {
    return Response.json({ holder: 'b', epoch: { number: 4, site: 'b' }, tookMs: 1500 });
  }
  if (pathname === '/sync') return Response.json({ ok: false, tookMs: 20 });
  if (pathname === '/admins') {
    return Response.json({ code: 'conflict', detail: 'The admin ops exists.' }, { status: 409 });
  }
  return Response.json({ ok: true });
}

async function run(args: readonly string[], input = '') {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    stdin: new TextEncoder().encode(input),
    stdout: 'pipe',
    stderr: 'pipe',
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '' },
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, code };
}
const admin = (...args: string[]) => run([...args, '--data', directory]);

describe('exit codes and the one line of error', () => {
  const cases: readonly (readonly [string, readonly string[], number, string])[] = [
    ['an unknown flag', ['serve', '--stroe', 'x'], 2, '(did you mean --store?)'],
    ['an unknown flag without a command', ['--stroe', 'x'], 2, '(did you mean --store?)'],
    ['an unknown command', ['stauts'], 2, '(did you mean status?)'],
    ['a missing flag', ['serve'], 2, '--store is missing'],
    ['a wrong value', ['serve', '--store', '/x', '--settle', '5'], 2, '--settle is "5"'],
    ['a missing file', ['serve', '--config', 'none.toml'], 2, 'none.toml does not exist'],
    ['a bad name', ['depositor', 'add', 'a b', '--collection', 'c'], 2, "'a b' is no name"],
    ['no running site', ['status', '--data', '/nowhere'], 4, 'no running site answers'],
    ['a foreign directory', ['demo', '--dir', '/usr'], 2, '/usr is not empty'],
  ];
  for (const [name, args, code, words] of cases) {
    test(`${name}: ${code}`, async () => {
      const result = await run(args);
      expect(result.stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(result.stderr).toStartWith('twinsite: ');
      expect(result.stderr).toContain(words);
      expect(result.code).toBe(code);
      expect(result.stdout).toBe('');
    });
  }

  test('nothing at all: help on stderr, 2', async () => {
    const { stdout, stderr, code } = await run([]);
    expect([stdout, code]).toEqual(['', 2]);
    expect(stderr).toContain('Usage: twinsite');
  });

  test('help and version: 0, on stdout', async () => {
    expect((await run(['--help'])).stdout).toContain('Usage: twinsite');
    const version = await run(['--version']);
    expect(version.stdout.trim()).toBe('dev');
    expect(version.code).toBe(0);
    expect(JSON.parse((await run(['version', '--json'])).stdout).protocol).toBe(1);
  });

  test('what was thrown decides', () => {
    expect(exitCodeOf(new AppError('config', 'x'))).toBe(2);
    expect(exitCodeOf(new AppError('not-running', 'x'))).toBe(4);
    expect(exitCodeOf(new AppError('port-in-use', 'x'))).toBe(1);
    expect(exitCodeOf(new Error('x'))).toBe(1);
    expect(failureText(new AppError('port-in-use', ':80 is in use'))).toBe(
      ':80 is in use. Stop what listens there, or choose another address.',
    );
    expect(failureText(new AppError('config', 'It is wrong. Mend it'))).toBe(
      'It is wrong. Mend it.',
    );
  });
});

describe('commands for a running site', () => {
  test('a token is printed once: alone on stdout, or as {name, token}', async () => {
    const add = ['depositor', 'add', 'alice', '--collection', 'papers'];
    expect((await admin(...add)).stdout).toBe('secret-token\n');
    expect(JSON.parse((await admin(...add, '--json')).stdout)).toEqual({
      name: 'alice',
      token: 'secret-token',
    });
    expect(asked.at(-1)?.body).toEqual({ name: 'alice', collection: 'papers' });
  });

  test('a password comes from standard input only', async () => {
    const add = ['depositor', 'add', 'alice', '--collection', 'papers', '--password-stdin'];
    const result = await run([...add, '--data', directory], 'correct horse\n');
    expect(result.code).toBe(0);
    expect(asked.at(-1)?.body).toMatchObject({ password: 'correct horse' });
    expect((await run([...add, '--data', directory], 'short\n')).code).toBe(2);
  });

  test('lists are tables in a pipe, arrays with --json', async () => {
    const { stdout } = await admin('depositor', 'ls');
    expect(stdout).toBe('NAME   DISABLED  RIGHTS\nalice  no        papers:deposit,read\n');
    expect(JSON.parse((await admin('collection', 'ls', '--json')).stdout)).toEqual([
      { name: 'papers', title: null },
    ]);
  });

  test('set changes only what is there', async () => {
    expect((await admin('collection', 'set', 'papers', '--title', 'Papers')).code).toBe(0);
    expect(asked.at(-1)).toEqual({
      method: 'PUT',
      path: '/collections/papers',
      body: { title: 'Papers' },
    });
    expect((await admin('collection', 'set', 'paper', '--title', 'x')).code).toBe(1);
  });

  test('rights are checked here', async () => {
    const grant = ['depositor', 'grant', 'alice', '--collection', 'papers'];
    expect((await admin(...grant, '--rights', 'write')).code).toBe(2);
    expect((await admin(...grant, '--rights', 'read')).code).toBe(0);
    expect(asked.at(-1)?.body).toEqual({ collection: 'papers', rights: ['read'] });
  });

  test('switchover, drain, resume, sync', async () => {
    const moved = await admin('switchover', '--to', 'b');
    expect(moved.stdout).toBe('site b holds now (epoch 4), after 1.50 s\n');
    expect(asked.at(-1)?.body).toEqual({ to: 'b' });
    expect((await admin('drain', '--wait')).code).toBe(0);
    expect(asked.at(-1)?.body).toEqual({ wait: true });
    expect((await admin('resume')).code).toBe(0);
    expect((await admin('sync', 'a/b')).code).toBe(3);
    expect(asked.at(-1)?.body).toEqual({ path: 'a/b' });
  });

  test('a problem of the site is the line, with --json also a document', async () => {
    const { stdout, stderr, code } = await admin('admin', 'add', 'ops', '--json');
    expect([code, JSON.parse(stdout).error.code]).toEqual([1, 'conflict']);
    expect(stderr).toContain('twinsite: The admin ops exists.');
  });
});

describe('help', () => {
  const context: CommandContext = {
    output: createOutput({ stdout: { write: () => true }, stderr: { write: () => true } }, {}),
    env: {},
    cwd: '/',
    readStdin: () => Promise.resolve(''),
    exitCode: 0,
  };
  const leaves = (command: Command): Command[] =>
    command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);

  test('every command has examples, and --json but for serve', () => {
    for (const command of leaves(buildProgram(context))) {
      let help = '';
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect([command.name(), help.includes('Examples:\n  twinsite ')]).toEqual([
        command.name(),
        true,
      ]);
      const json = command.options.some((option) => option.long === '--json');
      expect([command.name(), json]).toEqual([command.name(), command.name() !== 'serve']);
    }
  });
});

describe('tables', () => {
  test('are aligned, without spaces at the end', () => {
    expect(
      alignColumns([
        ['a', 'bb', ''],
        ['ccc', 'd', ''],
      ]),
    ).toEqual(['a    bb', 'ccc  d']);
    expect(
      alignColumns([
        ['é–', 'x'],
        ['abc', 'y'],
      ]),
    ).toEqual(['é–   x', 'abc  y']);
    expect(recordTable([{ name: 'a', on: true, list: [], none: null }])).toEqual([
      'NAME  ON   LIST  NONE',
      'a     yes  -     -',
    ]);
  });
});
