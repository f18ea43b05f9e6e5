/** The deposit service as any client sees it: plain HTTP. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { AppError } from '../../core/errors.ts';
import { parseAnswer, tokenAnswer } from '../admin/answers.ts';
import type { DemoSite } from './site-process.ts';
import { waitFor } from './wait.ts';

export const COLLECTION = 'papers';
export const DEPOSITOR = 'alice';
const TIMEOUT_MS = 30_000;

const receiptAnswer = z.looseObject({
  id: z.string(),
  durability: z.enum(['both', 'local']),
  files: z.array(
    z.looseObject({
      name: z.string(),
      sizeBytes: z.number(),
      sha256: z.string(),
      href: z.string(),
    }),
  ),
});
export type Receipt = z.infer<typeof receiptAnswer>;
const listAnswer = z.object({ items: z.array(receiptAnswer), next: z.string().nullable() });

/** Collection and depositor through the admin socket; those of an earlier run stay. Returns a token. */
export async function makeAccounts(site: DemoSite): Promise<string> {
  const post = (path: string, body: object) => site.admin({ method: 'POST', path, body });
  await post('/collections', { name: COLLECTION, title: 'Papers' }).catch(unlessConflict);
  const added = await post('/depositors', { name: DEPOSITOR, collection: COLLECTION }).catch(
    unlessConflict,
  );
  const answer = added ?? (await post(`/depositors/${DEPOSITOR}/token`, {}));
  return parseAnswer(tokenAnswer, answer).token;
}

function unlessConflict(error: unknown): null {
  if (error instanceof AppError && error.code === 'conflict') return null;
  throw error;
}

/** A client with a token, for one site. */
export class Client {
  private readonly site: DemoSite;
  private readonly token: string;

  constructor(site: DemoSite, token: string) {
    this.site = site;
    this.token = token;
  }

  private async request(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${this.token}`);
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(new URL(path, this.site.url), { ...init, headers, signal });
    if (response.ok) return response;
    const said = (await response.text()).slice(0, 300);
    throw new Error(`site ${this.site.name} answered ${response.status} to ${path}: ${said}`);
  }

  /** Waits until the site knows the depositor: the account may still be on its way there. */
  async known(): Promise<void> {
    await waitFor(
      `site ${this.site.name} knows the depositor`,
      () =>
        this.request('/deposits?limit=1').then(
          () => true,
          () => false,
        ),
      { timeoutMs: 20_000 },
    );
  }

  async deposit(name: string, body: Uint8Array<ArrayBuffer>, key?: string): Promise<Receipt> {
    const response = await this.request(`/collections/${COLLECTION}/deposits`, {
      method: 'POST',
      headers: {
        'content-type': 'application/octet-stream',
        'content-disposition': `attachment; filename="${name}"`,
        ...(key === undefined ? {} : { 'idempotency-key': key }),
      },
      body,
    });
    return parseAnswer(receiptAnswer, await response.json());
  }

  async receipt(id: string): Promise<Receipt> {
    return parseAnswer(receiptAnswer, await (await this.request(`/deposits/${id}`)).json());
  }

  /** SHA-256 (hex) of the bytes that this site gives out for a file. */
  async downloadDigest(receipt: Receipt, name: string): Promise<string> {
    const path = `/deposits/${receipt.id}/files/${encodeURIComponent(name)}`;
    const response = await this.request(path);
    return sha256(new Uint8Array(await response.arrayBuffer()));
  }

  /** Every deposit that this site lists. */
  async all(): Promise<Receipt[]> {
    const found: Receipt[] = [];
    let cursor = '';
    do {
      const more = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const response = await this.request(`/deposits?limit=100${more}`);
      const page = parseAnswer(listAnswer, await response.json());
      found.push(...page.items);
      cursor = page.next ?? '';
    } while (cursor !== '');
    return found;
  }
}

/** Hex. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
