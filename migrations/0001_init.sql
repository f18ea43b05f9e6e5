-- Two schemas, two lists: every table of `twinsite` is replicated, every table of `node` is this
-- site's own. Replicated tables are append-only, have one unique index (the uuid primary key), no
-- foreign keys out and no sequences; their rows are pure functions of their keys.

CREATE SCHEMA twinsite;
-- Exists when the migrations were counted before this one.
CREATE SCHEMA IF NOT EXISTS node;

CREATE TABLE twinsite.deposits (
  id uuid PRIMARY KEY,
  collection text NOT NULL,
  depositor text NOT NULL,
  on_behalf_of text,
  title text,
  packaging text,
  file_count integer NOT NULL,
  request_digest bytea NOT NULL,
  key_digest bytea
);
CREATE INDEX deposits_key_digest ON twinsite.deposits (key_digest) WHERE key_digest IS NOT NULL;
CREATE INDEX deposits_collection ON twinsite.deposits (collection, id);
CREATE INDEX deposits_depositor ON twinsite.deposits (depositor, id);

CREATE TABLE twinsite.deposit_files (
  id uuid PRIMARY KEY,
  deposit_id uuid NOT NULL,
  ordinal integer NOT NULL,
  name text NOT NULL,
  media_type text NOT NULL,
  size_bytes bigint NOT NULL,
  sha256 bytea NOT NULL,
  md5 bytea NOT NULL,
  -- 32 bytes for each chunk of 4 MiB
  chunk_sha256 bytea NOT NULL,
  path text NOT NULL
);
CREATE INDEX deposit_files_deposit ON twinsite.deposit_files (deposit_id);
CREATE INDEX deposit_files_sha256 ON twinsite.deposit_files (sha256);

CREATE TABLE twinsite.events (
  id uuid PRIMARY KEY,
  entity text NOT NULL,
  counter bigint NOT NULL,
  site text NOT NULL,
  at timestamptz NOT NULL,
  kind text NOT NULL,
  body jsonb NOT NULL
);
CREATE INDEX events_entity ON twinsite.events (entity text_pattern_ops, counter);
CREATE INDEX events_received ON twinsite.events (at DESC, id) WHERE kind = 'received';

-- A deposit taken here waits for the peer's word: attested_at is null until then.
CREATE TABLE node.attestations (
  deposit_id uuid PRIMARY KEY,
  attested_at timestamptz,
  store_id text,
  statement text,
  signature bytea
);
CREATE INDEX attestations_open ON node.attestations (deposit_id) WHERE attested_at IS NULL;

-- What this site vouched for to the peer.
CREATE TABLE node.vouched (
  deposit_id uuid PRIMARY KEY,
  at timestamptz NOT NULL
);

-- Bytes known verified and durable in this site's store, and bytes that a row promises and that are
-- not known so: the durable need list, filled in the same transaction that applies the row.
CREATE TABLE node.held_files (
  file_id uuid PRIMARY KEY,
  deposit_id uuid NOT NULL,
  verified_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX held_files_deposit ON node.held_files (deposit_id);
CREATE TABLE node.needed_files (
  file_id uuid PRIMARY KEY,
  deposit_id uuid NOT NULL,
  since timestamptz NOT NULL DEFAULT now(),
  attempts integer NOT NULL DEFAULT 0,
  last_error text
);
CREATE INDEX needed_files_deposit ON node.needed_files (deposit_id);
CREATE INDEX needed_files_order ON node.needed_files (attempts, since DESC, file_id);

-- A row from the peer whose key is known here with other content. Never expected; always an alarm.
CREATE TABLE node.divergent_rows (
  table_name text NOT NULL,
  key uuid NOT NULL,
  theirs jsonb NOT NULL,
  ours jsonb NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now(),
  times integer NOT NULL DEFAULT 1,
  PRIMARY KEY (table_name, key)
);

-- Small facts that must be exactly as durable as the rows beside them (incarnation, the peer's
-- system identifier that a subscription was made for, …).
CREATE TABLE node.facts (
  name text PRIMARY KEY,
  value jsonb NOT NULL
);

-- Skip-known: the peer's row whose key exists with an equal row is the same row arriving twice; with
-- another row it is kept aside. The apply worker runs with an empty search_path, hence SET and full names.
CREATE FUNCTION node.skip_known() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ours jsonb;
  theirs jsonb;
BEGIN
  -- One branch for each table, because a plan made anew for each row would cost more than the row.
  CASE TG_TABLE_NAME
    WHEN 'deposits' THEN
      SELECT to_jsonb(t) INTO ours FROM twinsite.deposits t WHERE t.id = NEW.id;
    WHEN 'deposit_files' THEN
      SELECT to_jsonb(t) INTO ours FROM twinsite.deposit_files t WHERE t.id = NEW.id;
    WHEN 'events' THEN
      SELECT to_jsonb(t) INTO ours FROM twinsite.events t WHERE t.id = NEW.id;
  END CASE;
  IF ours IS NULL THEN
    RETURN NEW;
  END IF;
  theirs := to_jsonb(NEW);
  IF ours IS DISTINCT FROM theirs THEN
    INSERT INTO node.divergent_rows AS d (table_name, key, theirs, ours)
      VALUES (TG_TABLE_NAME, NEW.id, theirs, ours)
      ON CONFLICT (table_name, key) DO UPDATE SET times = d.times + 1, theirs = excluded.theirs;
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION node.note_needed_file() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO node.needed_files (file_id, deposit_id) VALUES (NEW.id, NEW.deposit_id)
    ON CONFLICT DO NOTHING;
  PERFORM pg_notify('twinsite_arrival', '');
  RETURN NULL;
END
$$;

CREATE FUNCTION node.note_event() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('twinsite_event', split_part(NEW.entity, '/', 1));
  RETURN NULL;
END
$$;

CREATE TRIGGER skip_known BEFORE INSERT ON twinsite.deposits
  FOR EACH ROW EXECUTE FUNCTION node.skip_known();
CREATE TRIGGER skip_known BEFORE INSERT ON twinsite.deposit_files
  FOR EACH ROW EXECUTE FUNCTION node.skip_known();
CREATE TRIGGER skip_known BEFORE INSERT ON twinsite.events
  FOR EACH ROW EXECUTE FUNCTION node.skip_known();
ALTER TABLE twinsite.deposits ENABLE REPLICA TRIGGER skip_known;
ALTER TABLE twinsite.deposit_files ENABLE REPLICA TRIGGER skip_known;
ALTER TABLE twinsite.events ENABLE REPLICA TRIGGER skip_known;

CREATE TRIGGER note_needed_file AFTER INSERT ON twinsite.deposit_files
  FOR EACH ROW EXECUTE FUNCTION node.note_needed_file();
ALTER TABLE twinsite.deposit_files ENABLE REPLICA TRIGGER note_needed_file;
CREATE TRIGGER note_event AFTER INSERT ON twinsite.events
  FOR EACH ROW EXECUTE FUNCTION node.note_event();
ALTER TABLE twinsite.events ENABLE REPLICA TRIGGER note_event;

-- The service may add rows and read them; nothing here lets it change or remove one.
GRANT USAGE ON SCHEMA twinsite TO twinsite_service, twinsite_replication;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA twinsite TO twinsite_service;
GRANT SELECT ON ALL TABLES IN SCHEMA twinsite TO twinsite_replication;
GRANT USAGE ON SCHEMA node TO twinsite_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA node TO twinsite_service;
REVOKE INSERT, UPDATE, DELETE ON node.migrations FROM twinsite_service;
