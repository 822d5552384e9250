-- Schedules. People may write this table by plain SQL, so its first columns are for them: text, and numbers
-- with their unit, each with a default. The columns below the line are the scheduler's own.

CREATE TABLE schedules (
    id               TEXT PRIMARY KEY NOT NULL,
    cron             TEXT,                                -- exactly one of cron, every_s and at
    every_s          REAL,
    at               TEXT,                                -- times: 2031-05-01T12:00:00Z
    anchor_at        TEXT,
    zone             TEXT NOT NULL DEFAULT 'UTC',
    dst              TEXT NOT NULL DEFAULT 'debian',      -- debian, skip, both
    start_at         TEXT,
    end_at           TEXT,
    misfire          TEXT NOT NULL DEFAULT 'fire_once',   -- skip, fire_once, fire_all, fire_all(10)
    misfire_limit    INTEGER NOT NULL DEFAULT 100,
    misfire_grace_s  REAL NOT NULL DEFAULT 30.0,
    overlap          TEXT NOT NULL DEFAULT 'allow',       -- allow, skip, queue, cancel
    jitter_s         REAL NOT NULL DEFAULT 0.0,
    paused           INTEGER NOT NULL DEFAULT 0,
    kind             TEXT NOT NULL DEFAULT 'echo',
    payload          TEXT NOT NULL DEFAULT 'null',        -- JSON
    queue            TEXT NOT NULL DEFAULT 'default',
    tenant           TEXT NOT NULL DEFAULT 'default',
    priority         INTEGER NOT NULL DEFAULT 5,
    key              TEXT NOT NULL DEFAULT '',
    name             TEXT,
    timeout_s        REAL,
    labels           TEXT,                                -- JSON: {"team": "ops"}
    policy           TEXT,                                -- JSON: {"max_retries": 1}
    -- ------------------------------------------------------------------------------------------------
    version       INTEGER NOT NULL DEFAULT 1,
    mark          TEXT NOT NULL DEFAULT '',  -- names the last decision; what keeps it was written by SQL
    standing      TEXT,                      -- the rules in force and how far they have decided, as JSON
    look_us       INTEGER DEFAULT 0,         -- when the firer has to look at the row again
    quarantine    TEXT,                      -- why the row cannot be obeyed
    created_us    INTEGER,
    updated_us    INTEGER,                   -- NULL: written by SQL, and not looked at since
    last_fire_us  INTEGER,
    last_task     TEXT,
    records       INTEGER NOT NULL DEFAULT 0 -- rows in `fires`, at least
) STRICT;
CREATE INDEX schedules_look ON schedules (look_us) WHERE look_us IS NOT NULL;

-- What SQL writes is news to the firer, and outdates every decision that is on its way. The number is minted,
-- so that a row which was deleted and written anew never has the version of the old one.
CREATE TRIGGER schedules_written AFTER INSERT ON schedules WHEN NEW.mark = '' BEGIN
    UPDATE meta SET minted = minted + 1;
    UPDATE schedules SET version = (SELECT minted FROM meta), mark = 'sql' || (SELECT minted FROM meta)
        WHERE id = NEW.id;
END;
CREATE TRIGGER schedules_changed AFTER UPDATE ON schedules WHEN NEW.mark = OLD.mark BEGIN
    UPDATE meta SET minted = minted + 1;
    UPDATE schedules SET version = (SELECT minted FROM meta), mark = 'sql' || (SELECT minted FROM meta),
        look_us = 0, quarantine = NULL, updated_us = NULL
        WHERE id = NEW.id;
END;

-- What became of fire times: one row a task, one row for neighbours that were skipped for one reason.
CREATE TABLE fires (
    schedule    TEXT NOT NULL,
    n           INTEGER NOT NULL,
    decided_us  INTEGER NOT NULL,
    first_us    INTEGER NOT NULL,
    last_us     INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    task        TEXT,
    reason      TEXT,
    PRIMARY KEY (schedule, n)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER schedules_deleted AFTER DELETE ON schedules BEGIN
    DELETE FROM fires WHERE schedule = OLD.id;
END;

-- The tasks of fires. Both indexes hold no other tasks: those cost nothing for being looked at here.
ALTER TABLE tasks ADD COLUMN schedule_id TEXT;
ALTER TABLE tasks ADD COLUMN fire_at_us INTEGER;
CREATE UNIQUE INDEX tasks_fires ON tasks (schedule_id, fire_at_us) WHERE schedule_id IS NOT NULL;
CREATE INDEX tasks_fires_open ON tasks (schedule_id, fire_at_us) WHERE schedule_id IS NOT NULL AND state <= 4;

-- For people: what a task is, in words. `n` is the order of arrival, so the newest tasks are read without
-- looking at the others.
CREATE VIEW task_list AS
SELECT t.n, t.id,
    CASE t.state WHEN 1 THEN 'blocked' WHEN 2 THEN 'scheduled' WHEN 3 THEN 'ready' WHEN 4 THEN 'running'
        WHEN 5 THEN 'succeeded' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' END AS state,
    l.kind, l.queue, l.priority, l.tenant, t.name,
    CASE WHEN l.kind = 'command' AND json_valid(CAST(t.payload AS TEXT))
        THEN json_extract(CAST(t.payload AS TEXT), '$.command') END AS command,
    CAST(t.payload AS TEXT) AS payload,
    strftime('%Y-%m-%dT%H:%M:%SZ', t.created_at_us / 1000000, 'unixepoch') AS created_at,
    t.schedule_id,
    strftime('%Y-%m-%dT%H:%M:%SZ', t.fire_at_us / 1000000, 'unixepoch') AS fire_at
FROM tasks t JOIN lanes l ON l.id = t.lane;
