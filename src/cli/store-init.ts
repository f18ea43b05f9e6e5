import { promises as fs } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../platform/clock.ts';
import { addCommand, addGroup, type CommandContext, handle } from './command-shape.ts';
import { EXIT } from './failure.ts';

/** `twinsite store init DIR [--adopt]`. */
export function registerStore(program: Command, context: CommandContext): void {
  const group = addGroup(program, 'store', "a site's store");
  const command = addCommand(group, {
    usage: 'init <dir>',
    summary: 'mark a directory as a store; with --adopt one that holds files already',
    examples: ['store init /srv/san_A', 'store init /srv/san_A --adopt'],
  }).option('--adopt', "take the files that are there as this site's");
  handle(command, context, async (options, directory = '') => {
    const { initStore } = await import('../engine/files/store/init-store.ts');
    const root = path.resolve(context.cwd, directory);
    const { marker, message } = await initStore(root, {
      adopt: options['adopt'] === true,
      pairId: null,
      site: null,
      wallMs: systemClock.wallMs(),
    });
    await giveToOwner(root);
    if (options['json'] === true) context.output.json({ store: root, id: marker.storeId });
    else context.output.line(message);
    return EXIT.ok;
  });
}

/** Made by root for a service that runs as the store's owner: the marker must be that user's. */
async function giveToOwner(root: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const owner = await fs.stat(root);
  const own = path.join(root, '.twinsite');
  for (const each of [own, path.join(own, 'store.json')]) {
    await fs.lchown(each, owner.uid, owner.gid);
  }
}
