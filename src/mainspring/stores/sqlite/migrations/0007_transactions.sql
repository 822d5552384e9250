-- What users write in transactions of their own, with whatever SQLite they have.

-- Tasks that were submitted and wait to be taken in: at the next look, a second later at most. `task` is a document
-- as POST /api/v1/tasks takes it; the default of `id` is a UUIDv7.
CREATE TABLE submissions (
    n     INTEGER PRIMARY KEY AUTOINCREMENT,
    id    TEXT NOT NULL UNIQUE
          DEFAULT (printf(
              '%08x-%04x-7%03x-%s%03x-%s',
              CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) >> 16,
              CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) & 65535,
              random() & 4095, substr('89ab', 1 + (random() & 3), 1), random() & 4095, lower(hex(randomblob(6)))
          ))
          CHECK (
              length(id) = 36 AND id GLOB '????????-????-7???-[89ab]???-????????????'
              AND replace(id, '-', '') NOT GLOB '*[^0-9a-f]*' AND length(replace(id, '-', '')) = 32
          ),
    task  TEXT NOT NULL CHECK (json_valid(task) AND length(CAST(task AS BLOB)) <= 2097152)
) STRICT;

-- Runs that succeed together with the transaction in which this is written, or not at all. Nothing is ever in it.
CREATE VIEW completions AS SELECT '' AS task, 0 AS token, '' AS result WHERE false;

-- As settling does for a success; what follows for children is left to `resolve`, and the digest -1 says that no
-- report is to be waited for. Nobody else writes before the commit, so that what is checked here holds then.
CREATE TRIGGER completions_written INSTEAD OF INSERT ON completions BEGIN
    SELECT RAISE(ROLLBACK, 'lease_lost: the task is not held under this token, or has ended')
    WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE id = NEW.task AND state = 4 AND token = NEW.token);
    SELECT RAISE(ROLLBACK, 'the result is not JSON of at most 1 MiB')
    WHERE NOT (NEW.result IS NULL OR coalesce(json_valid(NEW.result) AND length(CAST(NEW.result AS BLOB)) <= 1048576, 0));
    UPDATE meta SET
        now_us = max(now_us, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000),
        minted = max(minted, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000) + 1;
    UPDATE tasks SET
        state = 5, end_us = (SELECT now_us FROM meta), version = (SELECT minted FROM meta),
        settled_token = token, settled_digest = -1, error = NULL, fingerprint = NULL, timeout_at_us = NULL,
        -- An empty blob stands for null, as everywhere.
        result = CASE NEW.result WHEN 'null' THEN x'' ELSE CAST(NEW.result AS BLOB) END
    WHERE id = NEW.task;
    INSERT INTO counts (queue, state, n)
        SELECT l.queue, moved.state, moved.n
        FROM tasks t JOIN lanes l ON l.id = t.lane
        CROSS JOIN (SELECT 4 AS state, -1 AS n UNION ALL SELECT 5, 1) AS moved
        WHERE t.id = NEW.task
        ON CONFLICT (queue, state) DO UPDATE SET n = n + excluded.n;
    INSERT OR IGNORE INTO unresolved (parent)
        SELECT t.n FROM tasks t
        WHERE t.id = NEW.task AND EXISTS (SELECT 1 FROM edges e WHERE e.parent = t.n AND e.open = 1);
    INSERT INTO history (task, at_us, old, cause, new, attempt, token)
        SELECT t.id, t.end_us, 4, 6, 5, t.attempt, t.token FROM tasks t
        WHERE t.id = NEW.task AND EXISTS (SELECT 1 FROM history h WHERE h.task = t.id);
END;
