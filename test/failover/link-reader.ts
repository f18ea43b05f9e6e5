/** An application: reads through the link until stdin ends, at least so many times. argv: link, times. */
import { readFileSync, readlinkSync } from 'node:fs';

const [link = '', times = '0'] = process.argv.slice(2);
const failures: string[] = [];
const seen: Record<string, number> = { a: 0, b: 0 };
let ended = false;
const end = new Response(Bun.stdin.stream()).text().then(() => {
  ended = true;
});
for (let i = 0; !ended || i < Number(times); i += 1) {
  try {
    readlinkSync(link);
    const which = readFileSync(`${link}/which`, 'utf8');
    seen[which] = (seen[which] ?? 0) + 1;
  } catch (error) {
    failures.push(String(error));
  }
  if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
}
await end;
process.stdout.write(JSON.stringify({ failures, ...seen }));
