/**
 * Collections, depositors and administrators as a fold over their events. No clock takes part: events
 * of one entity are ordered by counter, and of two concurrent ones (equal counter, written at the two
 * sites while apart) the one that takes a right away wins.
 */
import { z } from 'zod';
import { compareEvents, type EventRow } from './deposit.ts';
import { type AccountName, parseAccountName } from './ids.ts';

export const RIGHTS = ['deposit', 'read'] as const;
export type Right = (typeof RIGHTS)[number];
export type AccountKind = 'depositor' | 'admin';

export interface Collection {
  readonly name: AccountName;
  readonly title: string | null;
}

export interface AccessToken {
  readonly id: string;
  /** Hex SHA-256 of the token; the token itself is never kept. */
  readonly sha256: string;
}

export interface Account {
  readonly kind: AccountKind;
  readonly name: AccountName;
  readonly disabled: boolean;
  /** argon2id in PHC form. */
  readonly passwordHash: string | null;
  /** All that were made; each works until the account is disabled. */
  readonly tokens: readonly AccessToken[];
  readonly rights: ReadonlyMap<AccountName, ReadonlySet<Right>>;
}

export interface AccountsState {
  readonly collections: ReadonlyMap<string, Collection>;
  readonly depositors: ReadonlyMap<string, Account>;
  readonly admins: ReadonlyMap<string, Account>;
  /** By hex SHA-256 of the token. */
  readonly byToken: ReadonlyMap<string, Account>;
}

export const EMPTY_ACCOUNTS: AccountsState = {
  collections: new Map(),
  depositors: new Map(),
  admins: new Map(),
  byToken: new Map(),
};

const titleBody = z.object({ title: z.string().nullish() });
const passwordBody = z.object({ hash: z.string().min(1) });
const tokenBody = z.object({ id: z.string().min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
const grantBody = z.object({ collection: z.string(), rights: z.array(z.enum(RIGHTS)) });

/** The order of account events: by counter; among concurrent ones what takes away comes last. */
function compareAccountEvents(a: EventRow, b: EventRow): number {
  const takesAway = (event: EventRow) =>
    event.kind === 'revoked' || event.kind === 'disabled' ? 1 : 0;
  return a.counter - b.counter || takesAway(a) - takesAway(b) || compareEvents(a, b);
}

function byEntity(events: readonly EventRow[]): Map<string, EventRow[]> {
  const entities = new Map<string, EventRow[]>();
  for (const event of events) {
    const list = entities.get(event.entity);
    if (list) list.push(event);
    else entities.set(event.entity, [event]);
  }
  for (const list of entities.values()) list.sort(compareAccountEvents);
  return entities;
}

function foldCollection(name: AccountName, events: readonly EventRow[]): Collection | null {
  let exists = false;
  let title: string | null = null;
  for (const event of events) {
    if (event.kind === 'added') exists = true;
    if (event.kind !== 'added' && event.kind !== 'set') continue;
    const body = titleBody.safeParse(event.body);
    if (body.success && body.data.title !== undefined) title = body.data.title;
  }
  return exists ? { name, title } : null;
}

interface MutableAccount {
  exists: boolean;
  disabled: boolean;
  passwordHash: string | null;
  readonly tokens: AccessToken[];
  readonly rights: Map<AccountName, Set<Right>>;
}

function applyGrant(account: MutableAccount, event: EventRow): void {
  const body = grantBody.safeParse(event.body);
  const collection = body.success ? parseAccountName(body.data.collection) : null;
  if (!body.success || collection === null) return;
  const rights = account.rights.get(collection) ?? new Set<Right>();
  for (const right of body.data.rights) {
    if (event.kind === 'granted') rights.add(right);
    else rights.delete(right);
  }
  if (rights.size > 0) account.rights.set(collection, rights);
  else account.rights.delete(collection);
}

function applyAccountEvent(account: MutableAccount, event: EventRow): void {
  switch (event.kind) {
    case 'added':
      account.exists = true;
      return;
    case 'disabled':
    case 'enabled':
      account.disabled = event.kind === 'disabled';
      return;
    case 'password': {
      const body = passwordBody.safeParse(event.body);
      if (body.success) account.passwordHash = body.data.hash;
      return;
    }
    case 'token': {
      const body = tokenBody.safeParse(event.body);
      if (body.success) account.tokens.push(body.data);
      return;
    }
    case 'granted':
    case 'revoked':
      applyGrant(account, event);
      return;
    default:
      // An event of a newer release: what this one does not know it leaves alone.
      return;
  }
}

function foldAccount(
  kind: AccountKind,
  name: AccountName,
  events: readonly EventRow[],
): Account | null {
  const account: MutableAccount = {
    exists: false,
    disabled: false,
    passwordHash: null,
    tokens: [],
    rights: new Map(),
  };
  for (const event of events) applyAccountEvent(account, event);
  if (!account.exists) return null;
  const { disabled, passwordHash, tokens, rights } = account;
  return { kind, name, disabled, passwordHash, tokens, rights };
}

/**
 * Everything the events say, whatever order they come in. A name added at both sites is one account
 * with the union of what both wrote. Malformed bodies are skipped.
 */
export function foldAccounts(events: readonly EventRow[]): AccountsState {
  const collections = new Map<string, Collection>();
  const depositors = new Map<string, Account>();
  const admins = new Map<string, Account>();
  const byToken = new Map<string, Account>();
  for (const [entity, list] of byEntity(events)) {
    const slash = entity.indexOf('/');
    const kind = entity.slice(0, slash);
    const name = parseAccountName(entity.slice(slash + 1));
    if (name === null) continue;
    if (kind === 'collection') {
      const collection = foldCollection(name, list);
      if (collection) collections.set(name, collection);
    } else if (kind === 'depositor' || kind === 'admin') {
      const account = foldAccount(kind, name, list);
      if (!account) continue;
      (kind === 'depositor' ? depositors : admins).set(name, account);
      for (const token of account.tokens) byToken.set(token.sha256, account);
    }
  }
  return { collections, depositors, admins, byToken };
}

/** Whether the account may do this in the collection now. Administrators may read everything. */
export function hasRight(account: Account, collection: AccountName, right: Right): boolean {
  if (account.disabled) return false;
  if (account.kind === 'admin') return right === 'read';
  return account.rights.get(collection)?.has(right) ?? false;
}

/** Own deposits, and those of collections granted `read`. */
export function maySee(
  account: Account,
  deposit: { readonly depositor: AccountName; readonly collection: AccountName },
): boolean {
  if (account.disabled) return false;
  if (account.kind === 'depositor' && deposit.depositor === account.name) return true;
  return hasRight(account, deposit.collection, 'read');
}
