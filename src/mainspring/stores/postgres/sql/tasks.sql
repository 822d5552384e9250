-- Single tasks: reading them, locking them, writing them back.

-- part: row
t.id, t.lane_id, t.state, t.seq, t.token, t.version, t.attempt, t.retries, t.losses, t.snoozes, t.run_at_us,
t.timeout_us, t.deadline_us, t.started_at_us, t.finished_at_us, t.lease_until_us, t.timeout_at_us,
t.cancel_requested_at_us, t.worker, t.incarnation, t.error, t.fingerprint, t.rule, t.is_parent, t.workflow,
t.callback

-- part: task
t.id, t.state, t.payload, t.created_at_us, t.version, t.run_at_us, t.policy, t.timeout_us, t.deadline_us,
t.labels, t.name, t.token, t.attempt, t.retries, t.losses, t.snoozes, t.worker, t.lease_until_us,
t.timeout_at_us, t.started_at_us, t.finished_at_us, t.cancel_requested_at_us, t.result, t.error, t.attempts,
t.checkpoint, t.progress, t.seq, t.depends_on, t.schedule_id, t.fire_at_us, t.workflow,
l.queue, l.kind, l.tenant, l.priority, l.key,
CASE t.state WHEN 1 THEN (
    SELECT count(*) FROM mainspring.edges e WHERE e.child = t.id AND e.open
) ELSE 0 END AS open_parents

-- part: lease
t.id, t.token, t.lane_id, t.payload, t.attempt, t.retries, t.losses, t.snoozes, t.policy, t.timeout_us,
t.deadline_us, t.checkpoint, t.attempts, t.labels, t.started_at_us, t.lease_until_us, t.worker, t.fire_at_us

-- name: get
SELECT {task}
FROM mainspring.tasks t LEFT JOIN mainspring.lanes l ON l.id = t.lane_id
WHERE t.id = ANY ($1::text[])
ORDER BY t.id DESC

-- name: lock_rows
SELECT {row} FROM mainspring.tasks t WHERE t.id = ANY ($1::text[]) ORDER BY t.id FOR UPDATE

-- name: rewrite
-- All that moving a locked row may change.
UPDATE mainspring.tasks SET
    state = $2, token = $3, version = $4, seq = $5, attempt = $6, retries = $7, losses = $8, snoozes = $9,
    run_at_us = $10, deadline_us = $11, started_at_us = $12, finished_at_us = $13, cancel_requested_at_us = $14,
    worker = $15, incarnation = $16, lease_until_us = $17, timeout_at_us = $18, error = $19, fingerprint = $20,
    result = CASE WHEN $21::boolean THEN NULL ELSE result END,
    lane_id = $22, workflow = $23, callback = $24
WHERE id = $1

-- name: edit
UPDATE mainspring.tasks SET
    payload = $2, labels = $3, timeout_us = $4, deadline_us = $5, policy = $6, rule = $7, run_at_us = $8
WHERE id = $1

-- name: edit_rule
UPDATE mainspring.edges SET rule = $2 WHERE child = $1

-- name: note_ended_parents
-- The rule of the child $1 for failed parents may have changed: those that ended are applied anew.
INSERT INTO mainspring.unresolved (parent)
SELECT p.id FROM mainspring.edges e JOIN mainspring.tasks p ON p.id = e.parent
WHERE e.child = $1 AND e.open AND p.state + 0 >= 5
ON CONFLICT DO NOTHING

-- name: needed
-- Those of the tasks $1 on which unfinished tasks depend.
SELECT p.parent
FROM unnest($1::text[]) AS p (parent)
WHERE EXISTS (
    SELECT FROM mainspring.edges e JOIN mainspring.tasks c ON c.id = e.child
    WHERE e.parent = p.parent AND c.state + 0 <= 4 OFFSET 0
)

-- name: forget_tasks
DELETE FROM mainspring.tasks WHERE id = ANY ($1::text[])

-- name: forget_parents
DELETE FROM mainspring.edges WHERE parent = ANY ($1::text[])

-- name: forget_children
DELETE FROM mainspring.edges WHERE child = ANY ($1::text[])

-- name: forget_unresolved
DELETE FROM mainspring.unresolved WHERE parent = ANY ($1::text[])

-- name: forget_steps
DELETE FROM mainspring.steps WHERE task = ANY ($1::text[])

-- name: forget_logged
DELETE FROM mainspring.logged WHERE task = ANY ($1::text[])

-- name: forget_logs
DELETE FROM mainspring.logs WHERE task = ANY ($1::text[])

-- name: forget_history
DELETE FROM mainspring.history WHERE task = ANY ($1::text[])
