/** The store marker `.twinsite/store.json` and what makes a directory this site's store. */
import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import os from 'node:os';
import { z } from 'zod';
import { newUuid } from '../../../core/ids.ts';
import type { StoreMarker } from '../../../core/store-guard.ts';

export const PRIVATE_DIRECTORY = '.twinsite';
export const MARKER_PATH = `${PRIVATE_DIRECTORY}/store.json`;
/** A marker above this is not one. */
export const MARKER_MAX_BYTES = 16 * 1024;

const text = z.string().min(1).max(256);
const markerSchema = z.object({
  format: z.literal(1),
  storeId: z.uuid(),
  pair: text.nullable(),
  site: text.nullable(),
  generation: text,
  createdAt: text,
  host: text,
});

/** The marker in a file's text; null when it is none. */
export function parseMarker(content: string): StoreMarker | null {
  if (content.length > MARKER_MAX_BYTES) return null;
  try {
    const parsed = markerSchema.safeParse(JSON.parse(content));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

export function formatMarker(marker: StoreMarker): string {
  return `${JSON.stringify(marker, null, 2)}\n`;
}

/** `hostname/machine-id`: tells two hosts apart that mount one local file system. */
export async function thisHost(): Promise<string> {
  const machineId = await fs.readFile('/etc/machine-id', 'utf8').catch(() => '');
  return `${os.hostname()}/${machineId.trim()}`.slice(0, 256);
}

/** Machine ids decide when both are known; host names otherwise. */
export function isSameHost(a: string, b: string): boolean {
  const [nameA = '', idA = ''] = a.split('/');
  const [nameB = '', idB = ''] = b.split('/');
  return idA !== '' && idB !== '' ? idA === idB : nameA === nameB;
}

/** A marker of a new store. `site` and `pair` are null until a site opens it. */
export function newMarker(options: {
  readonly pair: string | null;
  readonly site: string | null;
  readonly host: string;
  readonly wallMs: number;
}): StoreMarker {
  return {
    format: 1,
    storeId: newUuid(randomBytes(16), options.wallMs),
    pair: options.pair,
    site: options.site,
    generation: newUuid(randomBytes(16), options.wallMs),
    createdAt: new Date(options.wallMs).toISOString(),
    host: options.host,
  };
}
