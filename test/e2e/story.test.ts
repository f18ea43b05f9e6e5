import { describe, expect, test } from 'bun:test';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { runBinary } from '../support/site-process.ts';

describe('the seed’s story, played by the binary itself', () => {
  for (const topology of ['t1', 't2']) {
    test(`in ${topology}`, async () => {
      const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'twinsite-story-'));
      await fs.chmod(directory, 0o755);
      const result = await runBinary(
        ['demo', '--story', '--topology', topology, '--dir', path.join(directory, 'demo')],
        { timeoutMs: 120_000 },
      );
      if (result.code !== 0) console.error(result.stdout, result.stderr);
      expect(result.code).toBe(0);
      await fs.rm(directory, { recursive: true, force: true });
    }, 130_000);
  }
});
