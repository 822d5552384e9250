-- Runs that a user's transaction completes are locked as all others lock tasks: in the order of their ids, and the
-- numbers last. In the order in which they were completed, heartbeats and the commit could wait for each other.

-- Told at once, without a lock: whoever is too late already need not go on to the commit.
CREATE OR REPLACE FUNCTION mainspring.completion_written() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM mainspring.tasks t WHERE t.id = NEW.task AND t.state + 0 = 4 AND t.token = NEW.token)
        OR EXISTS (SELECT FROM mainspring.completions c WHERE c.task = NEW.task)
    THEN
        PERFORM mainspring.lease_is_lost(NEW.task, NEW.token);
    END IF;
    RETURN NEW;
END $$;

-- The word that counts: at the commit, where the rows' locks hold nobody up. The first one speaks for all of the
-- transaction's. As `settle` does for a success; what follows for children is left to `resolve`, and the digest -1
-- says that no report is to be waited for.
CREATE OR REPLACE FUNCTION mainspring.completion_commits() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    now_us bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM mainspring.completions c WHERE c.task = NEW.task AND c.token = NEW.token) THEN
        RETURN NULL;
    END IF;
    PERFORM t.id FROM mainspring.tasks t JOIN mainspring.completions c ON c.task = t.id ORDER BY t.id FOR UPDATE OF t;
    now_us := mainspring.now_us();
    WITH done AS (
        UPDATE mainspring.tasks t SET
            state = 5, version = greatest(t.version + 1, now_us), settled_token = t.token, settled_digest = -1,
            result = convert_to(c.result::text, 'UTF8'), error = NULL, fingerprint = NULL, finished_at_us = now_us,
            lease_until_us = NULL, timeout_at_us = NULL
        FROM mainspring.completions c
        WHERE t.id = c.task AND t.state + 0 = 4 AND t.token = c.token
        RETURNING t.id, t.token, t.lane_id, t.attempt, t.is_parent
    ), gone AS (
        DELETE FROM mainspring.completions c USING done WHERE c.task = done.id AND c.token = done.token
    ), noted AS (
        INSERT INTO mainspring.unresolved (parent) SELECT id FROM done WHERE is_parent ORDER BY id ON CONFLICT DO NOTHING
    ), told AS (
        INSERT INTO mainspring.history (task, at_us, old, cause, new, attempt, token)
        SELECT id, now_us, 4, 6, 5, attempt, token FROM done
        WHERE EXISTS (SELECT FROM mainspring.history h WHERE h.task = done.id)
    )
    INSERT INTO mainspring.counts AS c (slot, queue, state, n)
    SELECT pg_backend_pid() % 64, l.queue, change.state, sum(change.n)
    FROM done
    JOIN mainspring.lanes l ON l.id = done.lane_id
    CROSS JOIN (VALUES (4, -1), (5, 1)) AS change (state, n)
    GROUP BY l.queue, change.state ORDER BY l.queue, change.state
    ON CONFLICT (slot, queue, state) DO UPDATE SET n = c.n + EXCLUDED.n;
    IF EXISTS (SELECT FROM mainspring.completions c WHERE c.task = NEW.task AND c.token = NEW.token) THEN
        PERFORM mainspring.lease_is_lost(NEW.task, NEW.token);
    END IF;
    PERFORM nextval('mainspring.signals');
    RETURN NULL;
END $$;
