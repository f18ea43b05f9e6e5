/** The binary alone, with nothing but the base system: a chroot that holds it, glibc, /dev and /proc. */
import { describe, expect, test } from 'bun:test';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BINARY, freePorts, until } from '../support/site-process.ts';

const GLIBC = [
  'ld-linux-x86-64.so.2',
  'libc.so.6',
  'libm.so.6',
  'libpthread.so.0',
  'libdl.so.2',
  'librt.so.1',
  'libresolv.so.2',
  'libutil.so.1',
  'libnss_files.so.2',
  'libnss_dns.so.2',
];

async function makeChroot(): Promise<string> {
  const root = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-chroot-'));
  await fs.chmod(root, 0o755);
  for (const directory of ['lib64', 'lib/x86_64-linux-gnu', 'dev', 'proc', 'site', 'site/store']) {
    await fs.mkdir(path.join(root, directory), { recursive: true });
  }
  for (const name of GLIBC) {
    const source = ['/lib64', '/lib/x86_64-linux-gnu']
      .map((d) => path.join(d, name))
      .find(existsSync);
    if (!source) continue;
    const target = name.startsWith('ld-') ? 'lib64' : 'lib/x86_64-linux-gnu';
    await fs.copyFile(source, path.join(root, target, name));
    await fs.chmod(path.join(root, target, name), 0o755);
  }
  await fs.copyFile(BINARY, path.join(root, 'site', 'twinsite'));
  await fs.chmod(path.join(root, 'site', 'twinsite'), 0o755);
  // Nodes of its own: a bind mount of /dev that outlives a failed test would be removed with the directory.
  for (const [name, minor] of Object.entries({ null: '3', zero: '5', random: '8', urandom: '9' })) {
    execFileSync('mknod', ['-m', '666', path.join(root, 'dev', name), 'c', '1', minor]);
  }
  execFileSync('mount', ['-t', 'proc', 'proc', path.join(root, 'proc')]);
  return root;
}

describe.if(process.getuid?.() === 0)('alone in a chroot with nothing but glibc', () => {
  for (const user of ['0:0', '4711:4711']) {
    test(`as ${user}`, async () => {
      const root = await makeChroot();
      const [port, peerPort] = (await freePorts(2)) as [number, number];
      const owner = Number(user.split(':')[0]);
      for (const directory of ['site', 'site/store'])
        await fs.chown(path.join(root, directory), owner, owner);
      let output = '';
      const child = spawn(
        '/usr/sbin/chroot',
        [
          '--userspec',
          user,
          root,
          '/site/twinsite',
          'serve',
          '--data',
          '/site/data',
          '--store',
          '/site/store',
          '--filestore',
          '/site/filestore',
          '--listen',
          `127.0.0.1:${port}`,
          '--peer-listen',
          `127.0.0.1:${peerPort}`,
          '--start-alone-after',
          '1s',
        ],
        { env: {}, stdio: ['ignore', 'pipe', 'pipe'] },
      );
      child.stdout.on('data', (chunk) => (output += chunk));
      child.stderr.on('data', (chunk) => (output += chunk));
      const ended = new Promise<number>((resolve) =>
        child.once('exit', (code) => resolve(code ?? -1)),
      );
      try {
        await until(
          'ready in the chroot',
          async () => {
            if (child.exitCode !== null) throw new Error(output);
            return (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200;
          },
          30_000,
        ).catch((error: unknown) => {
          throw new Error(`${String(error)}\n${output}`);
        });
        const status = (await (await fetch(`http://127.0.0.1:${port}/status`)).json()) as {
          database: { postgres: string };
        };
        expect(status.database.postgres).toStartWith('18');
        // The next scan is a minute away: only the watcher, which needs libraries that are not here, can tell.
        await fs.writeFile(path.join(root, 'site', 'store', 'foreign.txt'), 'seen at once');
        await until(
          'the watcher tells',
          async () => {
            const now = (await (await fetch(`http://127.0.0.1:${port}/status`)).json()) as {
              files: { entries: number };
            };
            return now.files.entries === 1;
          },
          10_000,
        );
      } catch (error) {
        console.error(output);
        throw error;
      } finally {
        child.kill('SIGTERM');
        expect(await ended).toBe(0);
        execFileSync('umount', [path.join(root, 'proc')]);
        await fs.rm(root, { recursive: true, force: true });
      }
    }, 60_000);
  }
});
