/** Collections, depositors and administrators, kept in memory as a fold of their events. */
import { createHash } from 'node:crypto';
import type {
  Account,
  AccountKind,
  AccountsState,
  Collection,
  Right,
} from '../../core/accounts.ts';
import { AppError, describeError } from '../../core/errors.ts';
import { type AccountName, newUuid, parseAccountName } from '../../core/ids.ts';
import type { Catalogue, Clock } from '../../core/ports.ts';
import type { Service } from '../../core/service.ts';
import { hashPassword } from '../auth/passwords.ts';
import { createReader, ENTITY_KINDS, type Reader } from './reader.ts';

/** How long the watching service waits before it reads again after a failed reading. */
const RETRY_MS = 1000;

export interface NewAccount {
  readonly name: AccountName;
  /** Shown once, kept nowhere. */
  readonly token: string;
}

export interface Accounts {
  /** What was read last; reads first when nothing was. Throws AppError `database-down`. */
  current(): Promise<AccountsState>;
  /** What is there now: joins a reading that begins after this call. Throws AppError `database-down`. */
  fresh(): Promise<AccountsState>;
  addCollection(name: string, title: string | null): Promise<Collection>;
  /** Adds the collection or sets its title; `created` says which. */
  putCollection(
    name: string,
    title: string | null | undefined,
  ): Promise<{ readonly collection: Collection; readonly created: boolean }>;
  /** Sets the title of a collection that exists. */
  setCollection(name: string, title: string | null): Promise<Collection>;
  addDepositor(name: string, collection: string, password?: string): Promise<NewAccount>;
  addAdmin(name: string): Promise<NewAccount>;
  grant(name: string, collection: string, rights: readonly Right[]): Promise<Account>;
  revoke(name: string, collection: string, rights: readonly Right[]): Promise<Account>;
  setDisabled(kind: AccountKind, name: string, disabled: boolean): Promise<Account>;
  /** One more token; those made before stay valid. */
  newToken(kind: AccountKind, name: string): Promise<NewAccount>;
  setPassword(name: string, password: string): Promise<Account>;
}

export interface AccountsDeps {
  readonly catalogue: Pick<Catalogue, 'append' | 'events' | 'watch'>;
  readonly clock: Clock;
  /** Cryptographically strong. */
  readonly random: (bytes: number) => Uint8Array;
}

type NewEvent = { readonly kind: string; readonly body: Readonly<Record<string, unknown>> };

interface Changes {
  readonly reader: Reader;
  /** Changes are made one after the other, each on what the one before left. */
  change<T>(work: (state: AccountsState) => Promise<T>): Promise<T>;
  /** Writes events of one entity in one transaction; what is there then. */
  write(entity: string, events: readonly NewEvent[]): Promise<AccountsState>;
  newToken(): { readonly token: string; readonly event: NewEvent };
}

function createChanges({ catalogue, clock, random }: AccountsDeps): Changes {
  const reader = createReader(catalogue);
  let last: Promise<unknown> = Promise.resolve();
  return {
    reader,
    change(work) {
      const next = last.then(async () => work(await reader.fresh()));
      last = next.catch(() => undefined);
      return next;
    },
    async write(entity, events) {
      await catalogue.append(entity, events);
      return reader.fresh();
    },
    newToken() {
      const token = Buffer.from(random(32)).toString('base64url');
      const sha256 = createHash('sha256').update(token).digest('hex');
      const id = newUuid(random(16), clock.wallMs());
      return { token, event: { kind: 'token', body: { id, sha256 } } };
    },
  };
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, 80));

function checkedName(text: string): AccountName {
  const name = parseAccountName(text);
  if (name) return name;
  throw new AppError(
    'bad-request',
    `${quoted(text)} cannot be a name: use 1 to 64 of A-Z a-z 0-9 . _ @ -, beginning and ending with a letter or digit.`,
  );
}

function existing(state: AccountsState, kind: AccountKind, text: string): Account {
  const account = (kind === 'depositor' ? state.depositors : state.admins).get(text);
  if (account) return account;
  throw new AppError('not-found', `There is no ${kind} ${quoted(text)}.`);
}

function existingCollection(state: AccountsState, text: string): AccountName {
  const collection = state.collections.get(text);
  if (collection) return collection.name;
  throw new AppError(
    'not-found',
    `There is no collection ${quoted(text)}; \`twinsite collection add\` makes one.`,
  );
}

function mustBeNew(known: ReadonlyMap<string, unknown>, kind: string, name: AccountName): void {
  if (known.has(name)) throw new AppError('conflict', `The ${kind} ${name} exists already.`);
}

function collectionChanges({
  change,
  write,
}: Changes): Pick<Accounts, 'addCollection' | 'setCollection' | 'putCollection'> {
  return {
    addCollection: (text, title) =>
      change(async (state) => {
        const name = checkedName(text);
        mustBeNew(state.collections, 'collection', name);
        await write(`collection/${name}`, [{ kind: 'added', body: { title } }]);
        return { name, title };
      }),
    setCollection: (text, title) =>
      change(async (state) => {
        const name = existingCollection(state, text);
        await write(`collection/${name}`, [{ kind: 'set', body: { title } }]);
        return { name, title };
      }),
    putCollection: (text, title) =>
      change(async (state) => {
        const name = checkedName(text);
        const known = state.collections.get(name);
        if (known && (title === undefined || title === known.title)) {
          return { collection: known, created: false };
        }
        const kind = known ? 'set' : 'added';
        await write(`collection/${name}`, [{ kind, body: { title: title ?? null } }]);
        return { collection: { name, title: title ?? null }, created: !known };
      }),
  };
}

function newAccounts({
  change,
  write,
  newToken,
}: Changes): Pick<Accounts, 'addDepositor' | 'addAdmin'> {
  return {
    addDepositor: (text, collectionText, password) =>
      change(async (state) => {
        const name = checkedName(text);
        mustBeNew(state.depositors, 'depositor', name);
        const collection = existingCollection(state, collectionText);
        const hash = password === undefined ? null : await hashPassword(password);
        const { token, event } = newToken();
        // One transaction: a crash leaves either no depositor or a complete one.
        await write(`depositor/${name}`, [
          { kind: 'added', body: {} },
          { kind: 'granted', body: { collection, rights: ['deposit'] } },
          ...(hash === null ? [] : [{ kind: 'password', body: { hash } }]),
          event,
        ]);
        return { name, token };
      }),
    addAdmin: (text) =>
      change(async (state) => {
        const name = checkedName(text);
        mustBeNew(state.admins, 'administrator', name);
        const { token, event } = newToken();
        await write(`admin/${name}`, [{ kind: 'added', body: {} }, event]);
        return { name, token };
      }),
  };
}

function accountChanges({
  change,
  write,
  newToken,
}: Changes): Pick<Accounts, 'grant' | 'revoke' | 'setDisabled' | 'newToken' | 'setPassword'> {
  const append = async ({ kind, name }: Account, event: NewEvent): Promise<Account> =>
    existing(await write(`${kind}/${name}`, [event]), kind, name);
  const setRights =
    (kind: 'granted' | 'revoked') =>
    (name: string, text: string, rights: readonly Right[]): Promise<Account> =>
      change(async (state) => {
        const account = existing(state, 'depositor', name);
        const collection = existingCollection(state, text);
        return append(account, { kind, body: { collection, rights: [...rights] } });
      });
  return {
    grant: setRights('granted'),
    revoke: setRights('revoked'),
    setDisabled: (kind, name, disabled) =>
      change(async (state) => {
        const account = existing(state, kind, name);
        if (account.disabled === disabled) return account;
        return append(account, { kind: disabled ? 'disabled' : 'enabled', body: {} });
      }),
    newToken: (kind, name) =>
      change(async (state) => {
        const account = existing(state, kind, name);
        const { token, event } = newToken();
        await append(account, event);
        return { name: account.name, token };
      }),
    setPassword: (name, password) =>
      change(async (state) => {
        const account = existing(state, 'depositor', name);
        const hash = await hashPassword(password);
        return append(account, { kind: 'password', body: { hash } });
      }),
  };
}

/** The accounts of this pair. Every operation is durable here when it resolves. */
export function createAccounts(deps: AccountsDeps): Accounts {
  const changes = createChanges(deps);
  return {
    current: changes.reader.current,
    fresh: changes.reader.fresh,
    ...collectionChanges(changes),
    ...newAccounts(changes),
    ...accountChanges(changes),
  };
}

/** Keeps the accounts in memory current: reads them again whenever their events change. */
export function accountsService(accounts: Accounts, catalogue: Pick<Catalogue, 'watch'>): Service {
  return {
    name: 'accounts',
    async run({ signal, clock, log, ready }) {
      let changed = Promise.withResolvers<void>();
      const wake = () => changed.resolve();
      const stops = ENTITY_KINDS.map((kind) => catalogue.watch(kind, wake));
      signal.addEventListener('abort', wake, { once: true });
      try {
        while (!signal.aborted) {
          changed = Promise.withResolvers<void>();
          try {
            await accounts.fresh();
            ready();
          } catch (error) {
            // What is in memory stays in force; requests that miss read for themselves.
            log.debug('accounts.unread', { error: describeError(error) });
            await clock.sleep(RETRY_MS, signal);
            continue;
          }
          await changed.promise;
        }
      } finally {
        for (const stop of stops) stop();
        signal.removeEventListener('abort', wake);
      }
    },
  };
}
