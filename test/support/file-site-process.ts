/** One site's file engine in a process of its own, to be killed: `bun file-site-process.ts NAME DIR PORT PEER_PORT`. */
import type { SiteName } from '../../src/core/ids.ts';
import { startFileSite } from './file-site.ts';
import { openTcpLink } from './tcp-link.ts';

const [name = '', directory = '', port = '0', peerPort = '0'] = process.argv.slice(2);

async function main(): Promise<void> {
  const link = await openTcpLink((name === 'a' ? 'b' : 'a') as SiteName, Number(port));
  link.dial(Number(peerPort));
  const site = await startFileSite(name, directory, link.link, {
    // Random deletions are the test's own: nothing is to be held.
    massDelete: { count: 1_000_000, percent: 100 },
  });
  process.stdout.write(`${JSON.stringify({ ready: true, port: link.port })}\n`);
  for await (const line of console) {
    if (line === 'sync') {
      const result = await site.engine
        .sync(null, AbortSignal.timeout(30_000))
        .catch((error: unknown) => ({ ok: false, error: String(error) }));
      process.stdout.write(`${JSON.stringify({ ...result, ...site.engine.facts() })}\n`);
    }
    if (line === 'status') process.stdout.write(`${JSON.stringify(site.engine.status())}\n`);
  }
  process.exit(0);
}

await main();
