-- For people, who read and write by plain SQL.

-- What a task is, in words. The newest have the highest ids.

-- What is no text, or no JSON, is told as NULL: one odd row must not keep people from reading the others.
CREATE FUNCTION mainspring.text_of(stored bytea) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN convert_from(stored, 'UTF8');
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

CREATE FUNCTION mainspring.command_of(payload bytea) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN convert_from(payload, 'UTF8')::json ->> 'command';
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

CREATE FUNCTION mainspring.time_of(us bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(to_timestamp(us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;

CREATE VIEW mainspring.task_list AS
SELECT t.id,
    CASE t.state WHEN 1 THEN 'blocked' WHEN 2 THEN 'scheduled' WHEN 3 THEN 'ready' WHEN 4 THEN 'running'
        WHEN 5 THEN 'succeeded' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' END AS state,
    l.kind, l.queue, l.priority, l.tenant, t.name,
    CASE l.kind WHEN 'command' THEN mainspring.command_of(t.payload) END AS command,
    mainspring.text_of(t.payload) AS payload,
    mainspring.time_of(t.created_at_us) AS created_at,
    t.schedule_id,
    mainspring.time_of(t.fire_at_us) AS fire_at
FROM mainspring.tasks t JOIN mainspring.lanes l ON l.id = t.lane_id;

-- A schedule that is written by hand wakes the firer, which would else look seconds later. Schedules that the firer
-- writes itself wake nobody.
CREATE OR REPLACE FUNCTION mainspring.schedule_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.mark = '' THEN
        NEW.version := mainspring.now_us();
        NEW.mark := 'sql' || NEW.version;
        PERFORM pg_notify('mainspring', 'sql');
    ELSIF TG_OP = 'UPDATE' AND NEW.mark = OLD.mark THEN
        NEW.version := greatest(OLD.version + 1, mainspring.now_us());
        NEW.mark := 'sql' || NEW.version;
        NEW.look_us := 0;
        NEW.quarantine := NULL;
        NEW.updated_us := NULL;
        PERFORM pg_notify('mainspring', 'sql');
    END IF;
    RETURN NEW;
END $$;
