-- Nothing is lost.

CREATE OR REPLACE FUNCTION mainspring.completion_written() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM mainspring.tasks t WHERE t.id = NEW.task AND t.state + 0 = 4 AND t.token = NEW.token) THEN
        PERFORM mainspring.lease_is_lost(NEW.task, NEW.token);
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION mainspring.completion_commits() RETURNS trigger LANGUAGE plpgsql
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
