-- What the auditor looks at, and what repair writes.

-- part: facts
t.id, t.state, t.token, t.version, t.seq,
EXISTS (SELECT FROM mainspring.lanes l WHERE l.id = t.lane_id) AS lane_known,
CASE t.state WHEN 4 THEN t.worker IS NOT NULL AND t.incarnation IS NOT NULL
    ELSE t.worker IS NOT NULL OR t.incarnation IS NOT NULL END AS held,
t.lease_until_us, t.started_at_us, t.finished_at_us, t.run_at_us, t.timeout_at_us, t.cancel_requested_at_us,
least(t.attempt, t.retries, t.losses, t.snoozes) AS lowest_counter,
CASE t.state WHEN 1 THEN (
    SELECT count(*) FROM mainspring.edges e WHERE e.child = t.id
) ELSE 0 END AS edges,
CASE t.state WHEN 1 THEN (
    SELECT count(*) FROM mainspring.edges e WHERE e.child = t.id AND e.open
) ELSE 0 END AS open_edges,
t.policy, t.labels, t.attempts, t.depends_on,
t.result IS NOT NULL AND t.settled_token = t.token AND t.token > 0 AS has_settled_result,
length(t.payload) > 0 AS has_payload,
t.workflow IS NULL AND t.callback IS NULL
    OR EXISTS (SELECT FROM mainspring.workflows w WHERE w.id = t.workflow)
    AND (t.callback IS NULL OR t.callback = ANY ($1::smallint[])) AS has_known_part

-- name: facts_after
-- $1 are the parts that a task may have in a workflow.
SELECT {facts} FROM mainspring.tasks t WHERE t.id > $2 ORDER BY t.id LIMIT $3

-- name: facts_of
SELECT {facts} FROM mainspring.tasks t WHERE t.id = ANY ($2::text[]) ORDER BY t.id

-- part: edge
SELECT e.parent, e.child, e.open, p.state AS parent_state, c.state AS child_state, c.policy,
    EXISTS (SELECT FROM mainspring.unresolved u WHERE u.parent = e.parent) AS noted
FROM mainspring.edges e
LEFT JOIN mainspring.tasks p ON p.id = e.parent
LEFT JOIN mainspring.tasks c ON c.id = e.child

-- name: edges_after
{edge} WHERE (e.parent, e.child) > ($1, $2) ORDER BY e.parent, e.child LIMIT $3

-- name: edge
{edge} WHERE e.parent = $1 AND e.child = $2

-- name: edges_of
{edge} WHERE e.child = $1

-- part: stray
NOT EXISTS (SELECT FROM mainspring.tasks t WHERE t.id = b.task) AS is_stray

-- name: owners_of_unresolved
SELECT b.task, {stray} FROM (
    SELECT parent AS task FROM mainspring.unresolved WHERE parent > $1 ORDER BY parent LIMIT $2
) AS b

-- name: owners_of_steps
SELECT b.task, {stray} FROM (
    SELECT DISTINCT task FROM mainspring.steps WHERE task > $1 ORDER BY task LIMIT $2
) AS b

-- name: owners_of_logged
SELECT b.task, {stray} FROM (
    SELECT task FROM mainspring.logged WHERE task > $1 ORDER BY task LIMIT $2
) AS b

-- name: owners_of_logs
SELECT b.task, {stray} FROM (
    SELECT DISTINCT task FROM mainspring.logs WHERE task > $1 ORDER BY task LIMIT $2
) AS b

-- name: workflows_to_audit
SELECT w.*, EXISTS (
    SELECT FROM mainspring.tasks t WHERE t.workflow IS NOT NULL AND t.workflow = w.id
) AS has_tasks
FROM mainspring.workflows w WHERE w.id > $1 ORDER BY w.id LIMIT $2

-- name: workflow_to_mend
SELECT w.*, EXISTS (
    SELECT FROM mainspring.tasks t WHERE t.workflow IS NOT NULL AND t.workflow = w.id
) AS has_tasks
FROM mainspring.workflows w WHERE w.id = $1 FOR UPDATE OF w

-- name: callback_ids
SELECT callback, id FROM mainspring.tasks WHERE workflow IS NOT NULL AND workflow = $1 AND callback > 0

-- name: put_callbacks
UPDATE mainspring.workflows SET callbacks = $2 WHERE id = $1

-- name: empty_fields
UPDATE mainspring.workflows SET
    labels = CASE WHEN $2::boolean THEN NULL ELSE labels END,
    forgotten = CASE WHEN $3::boolean THEN NULL ELSE forgotten END
WHERE id = $1

-- name: spans
SELECT first_us, last_us, task IS NOT NULL OR reason IS NOT NULL AS is_told FROM mainspring.fires
WHERE schedule = $1 ORDER BY n DESC LIMIT $2

-- name: schedule_to_mend
SELECT * FROM mainspring.schedules WHERE id = $1 FOR UPDATE

-- name: remind_of_schedule
-- The trigger takes a change under the same mark for one by hand: a new mark says that it is none.
UPDATE mainspring.schedules SET look_us = $2, mark = mark || '+' WHERE id = $1

-- name: begin_schedule_anew
UPDATE mainspring.schedules SET standing = NULL, look_us = 0, mark = mark || '+' WHERE id = $1

-- name: count_fires
UPDATE mainspring.schedules SET records = records + $2, mark = mark || '+' WHERE id = $1

-- name: name_tasks_of_fires
UPDATE mainspring.fires f SET task = (
    SELECT t.id FROM mainspring.tasks t
    WHERE t.schedule_id IS NOT NULL AND t.schedule_id = f.schedule AND t.fire_at_us = f.first_us
)
WHERE f.schedule = $1 AND f.task IS NULL AND f.reason IS NULL AND f.first_us = f.last_us

-- name: tell_lost_fires
UPDATE mainspring.fires SET reason = $2 WHERE schedule = $1 AND task IS NULL AND reason IS NULL

-- name: made_between
SELECT fire_at_us, id FROM mainspring.tasks
WHERE schedule_id IS NOT NULL AND schedule_id = $1 AND fire_at_us > $2 AND fire_at_us < $3
ORDER BY fire_at_us

-- name: booked_counts
SELECT queue, state, sum(n)::bigint AS n FROM mainspring.counts GROUP BY queue, state

-- name: unpin
-- What reads a whole table reads it in the order it lies in.
SELECT set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true)

-- name: few_tasks
SELECT count(*) <= $1 FROM (SELECT FROM mainspring.tasks LIMIT $1 + 1) AS t

-- name: count_all
SELECT lane_id, state, count(*) AS n FROM mainspring.tasks GROUP BY lane_id, state

-- name: count_scheduled
SELECT lane_id, 2 AS state, count(*) AS n FROM (
    SELECT lane_id FROM mainspring.tasks WHERE state = 2 LIMIT $1
) AS t GROUP BY lane_id

-- name: count_ready
SELECT lane_id, 3 AS state, count(*) AS n FROM (
    SELECT lane_id FROM mainspring.tasks WHERE state = 3 LIMIT $1
) AS t GROUP BY lane_id

-- name: count_running
SELECT lane_id, 4 AS state, count(*) AS n FROM (
    SELECT lane_id FROM mainspring.tasks WHERE state = 4 LIMIT $1
) AS t GROUP BY lane_id

-- name: count_failed
SELECT lane_id, 6 AS state, count(*) AS n FROM (
    SELECT lane_id FROM mainspring.tasks WHERE state >= 6 AND state = 6 LIMIT $1
) AS t GROUP BY lane_id

-- name: count_cancelled
SELECT lane_id, 7 AS state, count(*) AS n FROM (
    SELECT lane_id FROM mainspring.tasks WHERE state >= 6 AND state = 7 LIMIT $1
) AS t GROUP BY lane_id

-- name: hold_still
-- Numbers are written last in every transaction: who has written some has committed when this lock is had, and
-- nobody else commits before it is given back.
LOCK TABLE mainspring.counts IN SHARE ROW EXCLUSIVE MODE

-- name: mend_count
INSERT INTO mainspring.counts AS c (slot, queue, state, n) VALUES (pg_backend_pid() % 64, $1, $2, $3)
ON CONFLICT (slot, queue, state) DO UPDATE SET n = c.n + EXCLUDED.n

-- part: bad_share
NOT (weight > 0 AND weight < 'Infinity' AND abs(virtual_us) < 'Infinity')

-- name: bad_shares
SELECT tenant, weight, virtual_us FROM mainspring.shares WHERE {bad_share}

-- name: mend_share
UPDATE mainspring.shares SET
    weight = CASE WHEN weight > 0 AND weight < 'Infinity' THEN weight ELSE 1 END,
    virtual_us = CASE WHEN abs(virtual_us) < 'Infinity' THEN virtual_us ELSE 0 END
WHERE tenant = $1 AND {bad_share}

-- name: worker_reports
SELECT worker, info FROM mainspring.workers

-- name: drop_worker
DELETE FROM mainspring.workers WHERE worker = $1

-- name: term_ends
SELECT expires_us FROM mainspring.term WHERE id = 1

-- name: end_endless_term
UPDATE mainspring.term SET expires_us = mainspring.now_us() WHERE expires_us > mainspring.now_us() + $1

-- name: keys_after
SELECT principal, key, tasks FROM mainspring.idempotency
WHERE (principal, key) > ($1, $2) ORDER BY principal, key LIMIT $3

-- name: key_to_mend
SELECT tasks FROM mainspring.idempotency WHERE principal = $1 AND key = $2 FOR UPDATE

-- name: drop_key
DELETE FROM mainspring.idempotency WHERE principal = $1 AND key = $2

-- name: drop_arrival
DELETE FROM mainspring.arrivals WHERE name = $1

-- name: lock_ids
SELECT id FROM mainspring.tasks WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE

-- name: adopt
UPDATE mainspring.tasks SET state = $2, lane_id = coalesce($3, lane_id) WHERE id = $1 RETURNING lane_id

-- name: empty_task_fields
UPDATE mainspring.tasks SET
    policy = CASE WHEN $2::boolean THEN NULL ELSE policy END,
    labels = CASE WHEN $3::boolean THEN NULL ELSE labels END,
    attempts = CASE WHEN $4::boolean THEN NULL ELSE attempts END,
    payload = CASE WHEN $5::boolean THEN 'null'::bytea ELSE payload END
WHERE id = $1

-- name: parents_of
SELECT parent AS id FROM mainspring.edges WHERE child = $1

-- name: put_parents
UPDATE mainspring.tasks SET depends_on = $2 WHERE id = $1

-- name: put_edge
INSERT INTO mainspring.edges (parent, child, rule, open) VALUES ($1, $2, $3, true)
ON CONFLICT (parent, child) DO UPDATE SET rule = EXCLUDED.rule, open = true

-- name: close_edge
UPDATE mainspring.edges SET open = false WHERE parent = $1 AND child = $2

-- name: drop_edge
DELETE FROM mainspring.edges WHERE parent = $1 AND child = $2
