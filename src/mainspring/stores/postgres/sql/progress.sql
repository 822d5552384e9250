-- What running tasks record on the way.

-- name: hold
-- Those of the leases that stand. Their tasks are locked, so that none ends while its run's words are written.
SELECT l.task, l.token
FROM unnest($1::text[], $2::bigint[]) AS l (task, token)
JOIN mainspring.tasks t ON t.id = l.task AND t.token = l.token AND t.state + 0 = 4
ORDER BY t.id FOR UPDATE OF t

-- name: mark
-- But for a line that comes too late: `is_late` of core/progress.py.
UPDATE mainspring.tasks
SET checkpoint = coalesce($2, checkpoint), progress = coalesce($3, progress), noted_token = $4, noted = $5
WHERE id = $1 AND (noted_token IS DISTINCT FROM $4 OR noted <= $5 OR $5 = 0)

-- name: add_step
INSERT INTO mainspring.steps (task, n, name, result)
SELECT $1, (SELECT count(*) FROM mainspring.steps WHERE task = $1), $2, $3
ON CONFLICT (task, name) DO NOTHING

-- name: log_heads
SELECT task, token, base, ends, kept FROM mainspring.logged WHERE task = ANY ($1::text[])

-- name: put_log_heads
INSERT INTO mainspring.logged (task, token, base, ends, kept)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
ON CONFLICT (task) DO UPDATE
SET token = EXCLUDED.token, base = EXCLUDED.base, ends = EXCLUDED.ends, kept = EXCLUDED.kept

-- name: add_blocks
INSERT INTO mainspring.logs (task, ends, weight, pieces)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])

-- name: oldest_blocks
SELECT ends, weight FROM mainspring.logs WHERE task = $1 ORDER BY ends

-- name: drop_blocks
DELETE FROM mainspring.logs WHERE task = $1 AND ends <= $2

-- name: long_and_ended
SELECT l.task, l.kept FROM mainspring.logged l JOIN mainspring.tasks t ON t.id = l.task
WHERE l.kept > 131072 AND l.kept > $1 AND t.state + 0 >= 5
ORDER BY l.task LIMIT $2 FOR UPDATE OF l SKIP LOCKED

-- name: set_kept
UPDATE mainspring.logged SET kept = $2 WHERE task = $1

-- name: held
SELECT depends_on FROM mainspring.tasks WHERE id = $1 AND token = $2 AND state + 0 = 4

-- name: steps
SELECT name, result FROM mainspring.steps WHERE task = $1 ORDER BY n

-- name: size_of_parents
SELECT coalesce(sum(coalesce(length(result), 0) + coalesce(length(error), 0)), 0)::bigint
FROM mainspring.tasks WHERE id = ANY ($1::text[])

-- name: parents
SELECT id, name, state, result, error FROM mainspring.tasks WHERE id = ANY ($1::text[])

-- name: log_ends
SELECT coalesce(l.ends, 0) FROM mainspring.tasks t LEFT JOIN mainspring.logged l ON l.task = t.id WHERE t.id = $1

-- name: blocks
SELECT ends, pieces FROM mainspring.logs WHERE task = $1 AND ends > $2 ORDER BY ends LIMIT $3

-- name: glance
SELECT t.id, t.state, t.version, t.progress, coalesce(l.ends, 0) AS log_ends
FROM mainspring.tasks t LEFT JOIN mainspring.logged l ON l.task = t.id
WHERE t.id = ANY ($1::text[])
