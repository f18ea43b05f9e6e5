import { expect, test } from 'bun:test';
import { loadWatcherBinding } from './native-libraries.ts';

test("the watcher's binding loads and has what its wrapper calls", async () => {
  const binding = (await loadWatcherBinding()) as Record<string, unknown>;
  for (const name of ['subscribe', 'unsubscribe', 'getEventsSince', 'writeSnapshot']) {
    expect(typeof binding[name]).toBe('function');
  }
});
