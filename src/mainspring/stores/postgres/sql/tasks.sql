-- Reading tasks, moving due ones on, and moving single ones by hand.

-- name: get
SELECT t.*, l.queue, l.kind, l.tenant, l.priority, l.key
FROM mainspring.tasks t JOIN mainspring.lanes l ON l.id = t.lane_id
WHERE t.id = ANY ($1::text[])

-- name: promote
-- Scheduled tasks that are due, up to $1; rows that another node promotes are passed over.
WITH due AS MATERIALIZED (
    SELECT row_number() OVER () AS place, d.id FROM (
        SELECT id FROM mainspring.tasks WHERE state = 2 AND run_at_us <= mainspring.now_us()
        ORDER BY run_at_us, id LIMIT $1 FOR UPDATE SKIP LOCKED
    ) AS d
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    state = 3, seq = moment.now_us + due.place, version = greatest(t.version + 1, moment.now_us)
FROM due, moment
WHERE t.id = due.id
RETURNING t.lane_id

-- name: next_due
SELECT greatest(0, run_at_us - mainspring.now_us()) FROM mainspring.tasks
WHERE state = 2 ORDER BY run_at_us LIMIT 1

-- name: lock_tasks
-- Whole records, taken in the order of their ids.
SELECT t.*, l.queue, l.kind, l.tenant, l.priority, l.key
FROM mainspring.tasks t JOIN mainspring.lanes l ON l.id = t.lane_id
WHERE t.id = ANY ($1::text[]) ORDER BY t.id FOR UPDATE OF t

-- name: rewrite
-- What a person's word changes in a locked row.
UPDATE mainspring.tasks SET
    state = $2, token = $3, version = $4, seq = $5, attempt = $6, retries = $7, losses = $8, snoozes = $9,
    open_parents = $10, run_at_us = $11, deadline_us = $12, started_at_us = $13, finished_at_us = $14,
    cancel_requested_at_us = $15, worker = $16, lease_until_us = $17, timeout_at_us = $18, result = $19, error = $20
WHERE id = $1

-- name: stats
-- Exact because counted: the driver to come needs counters that do not make all nodes wait for one row.
SELECT l.queue, t.state, count(*) AS n
FROM mainspring.tasks t JOIN mainspring.lanes l ON l.id = t.lane_id
GROUP BY l.queue, t.state

-- name: all_heads
-- Looks at every lane ever used: the driver to come keeps the active ones apart.
SELECT l.*, head.seq
FROM mainspring.lanes l
CROSS JOIN LATERAL (
    SELECT seq FROM mainspring.tasks WHERE lane_id = l.id AND state = 3 ORDER BY seq LIMIT 1
) AS head

-- name: all_paused
SELECT queue, by FROM mainspring.paused

-- name: all_shares
SELECT tenant, weight, virtual_us FROM mainspring.shares
