/** Prepares a link as another user. argv: link, base. Prints the error's code and message. */
import { createFilestoreLink } from '../../src/failover/filestore-link.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';

const [link = '', base = ''] = process.argv.slice(2);
try {
  await createFilestoreLink({
    path: link,
    ownStore: `${base}/san_a`,
    clock: systemClock,
    log: silentLog,
  }).prepare();
  process.stdout.write('prepared');
} catch (error) {
  const { code, message } = error as { code?: string; message: string };
  process.stdout.write(`${code} ${message}`);
}
