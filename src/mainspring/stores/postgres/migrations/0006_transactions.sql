-- What users write in transactions of their own. Such a transaction may last for hours, so nothing here locks what
-- others need before it commits, and nothing is counted or numbered that others share.

-- A UUIDv7, for rows that are written by plain SQL.
CREATE FUNCTION mainspring.new_id() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT concat_ws('-', substr(t, 1, 8), substr(t, 9, 4), '7' || substr(r, 1, 3),
        substr('89ab', 1 + (('x' || substr(r, 4, 1))::bit(4)::integer & 3), 1) || substr(r, 5, 3), substr(r, 8, 12))
    FROM (SELECT
        lpad(to_hex(mainspring.now_us() / 1000), 12, '0') AS t,
        encode(sha256(convert_to(
            concat_ws(' ', random(), random(), clock_timestamp(), pg_backend_pid()), 'UTF8'
        )), 'hex') AS r
    ) AS parts
$$;

-- Tasks that were submitted and wait to be taken in: at the next look, a second later at most. `task` is a document
-- as POST /api/v1/tasks takes it.
CREATE TABLE mainspring.submissions (
    n     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id    text COLLATE "C" NOT NULL UNIQUE DEFAULT mainspring.new_id()
          CHECK (id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'),
    task  json NOT NULL CHECK (octet_length(task::text) <= 2097152)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Runs that succeed together with the transaction in which this is written, or not at all. Rows stay for no longer
-- than the transaction.
CREATE TABLE mainspring.completions (
    task    text COLLATE "C" NOT NULL,
    token   bigint NOT NULL,
    result  json CHECK (octet_length(result::text) <= 1048576)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX completions_task ON mainspring.completions (task);

CREATE FUNCTION mainspring.lease_is_lost(task text, token bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'lease_lost: task % is not held under token %, or has ended', task, token USING ERRCODE = 'MS409';
END $$;

-- Told at once, without a lock: whoever is too late already need not go on to the commit.
CREATE FUNCTION mainspring.completion_written() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM mainspring.tasks t WHERE t.id = NEW.task AND t.state + 0 = 4 AND t.token = NEW.token) THEN
        PERFORM mainspring.lease_is_lost(NEW.task, NEW.token);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER completions_written BEFORE INSERT ON mainspring.completions
    FOR EACH ROW EXECUTE FUNCTION mainspring.completion_written();

-- The word that counts: at the commit, where the row's lock holds nobody up. As `settle` does for a success; what
-- follows for children is left to `resolve`, and the digest -1 says that no report is to be waited for.
CREATE FUNCTION mainspring.completion_commits() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    now_us bigint := mainspring.now_us();
    done   record;
    named  text;
BEGIN
    UPDATE mainspring.tasks t SET
        state = 5, version = greatest(t.version + 1, now_us), settled_token = t.token, settled_digest = -1,
        result = convert_to(NEW.result::text, 'UTF8'), error = NULL, fingerprint = NULL, finished_at_us = now_us,
        lease_until_us = NULL, timeout_at_us = NULL
    WHERE t.id = NEW.task AND t.state + 0 = 4 AND t.token = NEW.token
    RETURNING t.lane_id, t.attempt, t.is_parent INTO done;
    IF NOT FOUND THEN
        PERFORM mainspring.lease_is_lost(NEW.task, NEW.token);
    END IF;
    DELETE FROM mainspring.completions c WHERE c.task = NEW.task AND c.token = NEW.token;
    IF done.is_parent THEN
        INSERT INTO mainspring.unresolved (parent) VALUES (NEW.task) ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO mainspring.history (task, at_us, old, cause, new, attempt, token)
        SELECT NEW.task, now_us, 4, 6, 5, done.attempt, NEW.token
        WHERE EXISTS (SELECT FROM mainspring.history h WHERE h.task = NEW.task);
    SELECT l.queue INTO named FROM mainspring.lanes l WHERE l.id = done.lane_id;
    INSERT INTO mainspring.counts AS c (slot, queue, state, n)
        VALUES (pg_backend_pid() % 64, named, 4, -1), (pg_backend_pid() % 64, named, 5, 1)
        ON CONFLICT (slot, queue, state) DO UPDATE SET n = c.n + EXCLUDED.n;
    PERFORM nextval('mainspring.signals');
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER completions_commit AFTER INSERT ON mainspring.completions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mainspring.completion_commits();
