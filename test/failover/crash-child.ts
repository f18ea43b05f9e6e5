/**
 * One site that dies by SIGKILL at a crash point. argv: base directory, site, crash point. It was the
 * other site of a T1 pair whose holder is gone; its own store was equal under the epoch on disk.
 */
import { TwoSites } from './two-sites.ts';

const [base = '', name = '', point = ''] = process.argv.slice(2);
const pair = new TwoSites('t1', base);
await pair.start(name as 'a' | 'b', {
  crashPoint: (at) => {
    if (at === point) process.kill(process.pid, 'SIGKILL');
  },
});
