-- What services do on every node.

-- name: promote
-- Scheduled tasks that are due, up to $1, from the time $2 on (lines.py); rows that another node promotes are passed
-- over.
WITH due AS MATERIALIZED (
    SELECT row_number() OVER () AS place, d.id FROM (
        SELECT id FROM mainspring.tasks WHERE state = 2 AND run_at_us <= mainspring.now_us() AND run_at_us >= $2
        ORDER BY run_at_us, id LIMIT $1 FOR UPDATE SKIP LOCKED
    ) AS d
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    state = 3, seq = moment.now_us + due.place, version = greatest(t.version + 1, moment.now_us)
FROM due, moment
WHERE t.id = due.id
RETURNING t.id, t.lane_id, t.attempt, t.token, t.run_at_us

-- name: next_due
-- From the time $1 on.
SELECT (
    SELECT greatest(0, run_at_us - mainspring.now_us()) FROM mainspring.tasks
    WHERE state = 2 AND run_at_us >= $1 ORDER BY run_at_us LIMIT 1
) AS wait_us, EXISTS (SELECT FROM mainspring.submissions) AS submissions

-- name: past_deadline
-- Up to $1, from the deadline $2 on (lines.py).
SELECT {row} FROM mainspring.tasks t
WHERE t.deadline_us IS NOT NULL AND t.state <= 3 AND t.deadline_us < mainspring.now_us() AND t.deadline_us >= $2
ORDER BY t.deadline_us, t.id LIMIT $1 FOR UPDATE SKIP LOCKED

-- name: look_from
SELECT id, state, finished_at_us FROM mainspring.tasks WHERE id >= $1 ORDER BY id LIMIT $2

-- name: drop_keys
DELETE FROM mainspring.idempotency WHERE (principal, key) IN (
    SELECT principal, key FROM mainspring.idempotency WHERE expires_us <= mainspring.now_us()
    ORDER BY principal, key FOR UPDATE SKIP LOCKED
)

-- name: drop_arrivals
DELETE FROM mainspring.arrivals WHERE name IN (
    SELECT name FROM mainspring.arrivals WHERE arrival_us <= mainspring.now_us()
    ORDER BY name FOR UPDATE SKIP LOCKED
)

-- name: drop_claimants
-- Those that have held nothing for a month.
DELETE FROM mainspring.claimants WHERE incarnation IN (
    SELECT c.incarnation FROM mainspring.claimants c
    WHERE c.seen_us <= mainspring.now_us() - 2592000000000
        AND NOT EXISTS (SELECT FROM mainspring.tasks t WHERE t.state = 4 AND t.incarnation = c.incarnation)
    ORDER BY c.incarnation FOR UPDATE SKIP LOCKED
)
