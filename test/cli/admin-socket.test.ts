import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { askAdmin } from '../../src/cli/admin/client.ts';
import {
  adminSocketPath,
  answers,
  findAdminSocket,
  prepareAdminSocket,
  reachableSocket,
} from '../../src/cli/admin/socket-path.ts';
import { AppError } from '../../src/core/errors.ts';
import type { SiteName } from '../../src/core/ids.ts';

const A = 'a' as SiteName;
const B = 'b' as SiteName;
let directory = '';
let run = '';
const servers: { stop(force: boolean): unknown }[] = [];

beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-socket-'));
  run = path.join(directory, 'run');
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop(true);
  await fs.rm(directory, { recursive: true });
});

async function serve(socket: string, answer = () => Response.json({ ok: true })) {
  await using reachable = await reachableSocket(socket);
  servers.push(Bun.serve({ unix: reachable.path, fetch: answer }));
}

async function site(name: SiteName) {
  const data = path.join(directory, name);
  await fs.mkdir(data);
  const socket = await prepareAdminSocket({ dataDir: data }, name, run);
  await serve(socket);
  return { data, socket };
}

const find = (flags: object) =>
  findAdminSocket({ flags, env: {}, cwd: directory, runDirectory: run });
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => Promise.reject(new Error('was not refused')),
    (error: unknown) => error as AppError,
  );

describe('where the socket is', () => {
  test('in the data directory, unless the run directory exists', async () => {
    const config = { dataDir: '/data' };
    expect(adminSocketPath(config, A, run)).toBe('/data/admin.sock');
    await fs.mkdir(run);
    expect(adminSocketPath(config, A, run)).toBe(path.join(run, 'a.sock'));
  });

  test('without a run directory --data finds it', async () => {
    const { data, socket } = await site(A);
    expect(socket).toBe(path.join(data, 'admin.sock'));
    expect(await find({ data })).toBe(socket);
  });

  test('with a run directory --data, --site, and with one site nothing at all, find it', async () => {
    await fs.mkdir(run);
    const { data, socket } = await site(A);
    expect(socket).toBe(path.join(run, 'a.sock'));
    expect(await find({ data })).toBe(path.join(data, 'admin.sock'));
    expect(await find({ site: 'a' })).toBe(socket);
    expect(await find({})).toBe(socket);
    const other = await site(B);
    const several = await refusal(find({}));
    expect(several.code).toBe('usage');
    expect(several.message).toContain('a, b');
    expect(await find({ data: other.data })).toBe(path.join(other.data, 'admin.sock'));
    expect(await find({ site: 'b' })).toBe(other.socket);
  });

  test('a second process under one name does not take the first one’s socket', async () => {
    await fs.mkdir(run);
    await site(A);
    const data = path.join(directory, 'other');
    await fs.mkdir(data);
    expect(await prepareAdminSocket({ dataDir: data }, A, run)).toBe(path.join(data, 'admin.sock'));
  });

  test('what a killed process left is replaced, and is no running site', async () => {
    await fs.mkdir(run);
    const stale = path.join(run, 'a.sock');
    const leaver = Bun.spawn(
      [
        process.execPath,
        '-e',
        'require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))',
        stale,
      ],
      { stdout: 'ignore', stderr: 'ignore' },
    );
    await leaver.exited;
    expect((await fs.lstat(stale)).isSocket()).toBe(true);
    expect(await answers(stale)).toBe(false);
    expect((await refusal(find({ site: 'a' }))).code).toBe('not-running');
    const { socket } = await site(A);
    expect(socket).toBe(stale);
    expect(await answers(stale)).toBe(true);
  });

  test('a path longer than a socket address works', async () => {
    const data = path.join(directory, 'x'.repeat(60), 'y'.repeat(60));
    await fs.mkdir(data, { recursive: true });
    const socket = await prepareAdminSocket({ dataDir: data }, A, run);
    await serve(socket);
    expect(await find({ data })).toBe(socket);
    expect(await askAdmin(socket, { method: 'GET', path: '/status' })).toEqual({ ok: true });
  });
});

describe('the client', () => {
  const ask = (answer: () => Response, timeoutMs?: number) => async () => {
    const socket = path.join(directory, 'admin.sock');
    await serve(socket, answer);
    const request = { method: 'GET', path: '/status' } as const;
    return askAdmin(socket, timeoutMs === undefined ? request : { ...request, timeoutMs });
  };

  test('a problem document becomes the error it was', async () => {
    const problem = () => Response.json({ code: 'conflict', detail: 'is there' }, { status: 409 });
    const error = await refusal(ask(problem)());
    expect([error.code, error.message]).toEqual(['conflict', 'is there']);
  });

  test('an answer that is not understood is said to be so', async () => {
    expect((await refusal(ask(() => new Response('x', { status: 500 }))())).code).toBe('internal');
  });

  test('an empty answer is null', async () => {
    expect(await ask(() => new Response(null, { status: 204 }))()).toBeNull();
  });

  test('a site that hangs is told after the deadline', async () => {
    const hang = ask((() => new Promise(() => undefined)) as unknown as () => Response, 100);
    expect((await refusal(hang())).message).toContain('did not answer within 0.1 s');
  });

  test('no socket means no running site', async () => {
    const request = { method: 'GET', path: '/status' } as const;
    const error = await refusal(askAdmin(path.join(directory, 'none.sock'), request));
    expect(error).toBeInstanceOf(AppError);
    expect(error.code).toBe('not-running');
  });
});
