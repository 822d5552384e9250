-- Schedules. People may write this table by plain SQL, so its first columns are for them: text, and numbers
-- with their unit, each with a default. The columns below the line are the scheduler's own.

CREATE TABLE mainspring.schedules (
    id               text COLLATE "C" PRIMARY KEY,
    cron             text,                                      -- exactly one of cron, every_s and at
    every_s          double precision,
    at               text,                                      -- times: 2031-05-01T12:00:00Z
    anchor_at        text,
    zone             text NOT NULL DEFAULT 'UTC',
    dst              text NOT NULL DEFAULT 'debian',            -- debian, skip, both
    start_at         text,
    end_at           text,
    misfire          text NOT NULL DEFAULT 'fire_once',         -- skip, fire_once, fire_all, fire_all(10)
    misfire_limit    bigint NOT NULL DEFAULT 100,
    misfire_grace_s  double precision NOT NULL DEFAULT 30.0,
    overlap          text NOT NULL DEFAULT 'allow',             -- allow, skip, queue, cancel
    jitter_s         double precision NOT NULL DEFAULT 0.0,
    paused           integer NOT NULL DEFAULT 0,
    kind             text NOT NULL DEFAULT 'echo',
    payload          text NOT NULL DEFAULT 'null',              -- JSON
    queue            text NOT NULL DEFAULT 'default',
    tenant           text NOT NULL DEFAULT 'default',
    priority         integer NOT NULL DEFAULT 5,
    key              text NOT NULL DEFAULT '',
    name             text,
    timeout_s        double precision,
    labels           text,                                      -- JSON: {"team": "ops"}
    policy           text,                                      -- JSON: {"max_retries": 1}
    -- ------------------------------------------------------------------------------------------------
    version       bigint NOT NULL DEFAULT 1,
    mark          text NOT NULL DEFAULT '',  -- names the last decision; what keeps it was written by SQL
    standing      text,                      -- the rules in force and how far they have decided, as JSON
    look_us       bigint DEFAULT 0,          -- when the firer has to look at the row again
    quarantine    text,                      -- why the row cannot be obeyed
    created_us    bigint,
    updated_us    bigint,                    -- NULL: written by SQL, and not looked at since
    last_fire_us  bigint,
    last_task     text,
    records       integer NOT NULL DEFAULT 0 -- rows in `fires`, at least
);
CREATE INDEX schedules_look ON mainspring.schedules (look_us) WHERE look_us IS NOT NULL;

-- What SQL writes is news to the firer, and outdates every decision that is on its way. Versions come from the
-- clock, so that a row which was deleted and written anew never has the version of the old one.
CREATE FUNCTION mainspring.schedule_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.mark = '' THEN
        NEW.version := mainspring.now_us();
        NEW.mark := 'sql' || NEW.version;
    ELSIF TG_OP = 'UPDATE' AND NEW.mark = OLD.mark THEN
        NEW.version := greatest(OLD.version + 1, mainspring.now_us());
        NEW.mark := 'sql' || NEW.version;
        NEW.look_us := 0;
        NEW.quarantine := NULL;
        NEW.updated_us := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER schedules_written BEFORE INSERT OR UPDATE ON mainspring.schedules
    FOR EACH ROW EXECUTE FUNCTION mainspring.schedule_written();

-- What became of fire times: one row a task, one row for neighbours that were skipped for one reason.
CREATE TABLE mainspring.fires (
    schedule    text COLLATE "C" NOT NULL,
    n           bigint GENERATED ALWAYS AS IDENTITY,
    decided_us  bigint NOT NULL,
    first_us    bigint NOT NULL,
    last_us     bigint NOT NULL,
    count       bigint NOT NULL,
    task        text,
    reason      text,
    PRIMARY KEY (schedule, n)
);
CREATE FUNCTION mainspring.schedule_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM mainspring.fires WHERE schedule = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER schedules_deleted AFTER DELETE ON mainspring.schedules
    FOR EACH ROW EXECUTE FUNCTION mainspring.schedule_deleted();

-- The tasks of fires. Both indexes hold no other tasks: those cost nothing for being looked at here.
ALTER TABLE mainspring.tasks ADD COLUMN schedule_id text COLLATE "C";
ALTER TABLE mainspring.tasks ADD COLUMN fire_at_us bigint;
CREATE UNIQUE INDEX tasks_fires ON mainspring.tasks (schedule_id, fire_at_us) WHERE schedule_id IS NOT NULL;
CREATE INDEX tasks_fires_open ON mainspring.tasks (schedule_id, fire_at_us)
    WHERE schedule_id IS NOT NULL AND state <= 4;
