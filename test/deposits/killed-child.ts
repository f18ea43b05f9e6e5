/** Takes one deposit with the real code and kills itself at the named step. */
import path from 'node:path';
import { openSite, rowOf, sample } from './fixture.ts';

const [directory = '', step = ''] = process.argv.slice(2);
const die = () => process.kill(process.pid, 'SIGKILL');

const site = await openSite(path.join(directory, 'store'), path.join(directory, 'data'), null, {
  failpoint: (name) => {
    if (name === step) die();
  },
});
const upload = await site.bytes.begin({});
await upload.write(sample(100_000));
const row = rowOf(await upload.finish());
await upload.publish(row);
await Bun.write(Bun.stdout, JSON.stringify(row));
site.needs.commit(row);
upload.committed();
die();
