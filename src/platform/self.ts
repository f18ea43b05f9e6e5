/** How to start this program again as a child of itself. */
import { fileURLToPath } from 'node:url';

/** True in the compiled binary, false under `bun src/main.ts` and in tests. */
export const isCompiled = import.meta.url.includes('/$bunfs/');

/** argv for a child that runs `twinsite internal …` of this very build. */
export function selfCommand(...args: readonly string[]): [string, ...string[]] {
  return isCompiled
    ? [process.execPath, ...args]
    : [process.execPath, fileURLToPath(new URL('../main.ts', import.meta.url)), ...args];
}
