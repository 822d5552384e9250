-- Moving house: all that the store holds, and writing what another store held.

-- name: dump_tasks
SELECT {task},
    t.settled_token, t.settled_digest, t.unique_digest, t.fingerprint, t.noted_token, t.noted
FROM mainspring.tasks t LEFT JOIN mainspring.lanes l ON l.id = t.lane_id
WHERE t.id > $1 ORDER BY t.id LIMIT $2

-- name: dump_workflows
SELECT w.n, w.id, w.created_at_us, w.name, w.labels, w.callbacks, w.forgotten,
    ARRAY (SELECT t.id FROM mainspring.tasks t WHERE t.workflow = w.id ORDER BY t.ordinal, t.id) AS tasks
FROM mainspring.workflows w WHERE w.n > $1 ORDER BY w.n LIMIT $2

-- name: dump_dependencies
SELECT t.id, t.depends_on,
    ARRAY (SELECT e.parent FROM mainspring.edges e WHERE e.child = t.id AND e.open) AS open
FROM mainspring.tasks t WHERE t.id > $1 AND t.depends_on IS NOT NULL ORDER BY t.id LIMIT $2

-- name: dump_steps
SELECT task, array_agg(name ORDER BY n) AS names, array_agg(result ORDER BY n) AS results
FROM mainspring.steps WHERE task > $1 GROUP BY task ORDER BY task LIMIT $2

-- name: dump_logs
SELECT l.task, l.token, l.base, l.ends, l.kept FROM mainspring.logged l WHERE l.task > $1 ORDER BY l.task LIMIT $2

-- name: blocks_of
SELECT task, ends, weight, pieces FROM mainspring.logs WHERE task = ANY ($1::text[]) ORDER BY task, ends

-- name: with_history
SELECT DISTINCT task FROM mainspring.history WHERE task > $1 ORDER BY task LIMIT $2

-- name: steps_of
SELECT * FROM mainspring.history WHERE task = ANY ($1::text[]) ORDER BY n

-- name: dump_keys
SELECT principal, key, digest, expires_us, tasks FROM mainspring.idempotency
WHERE (principal, key) > ($1, $2) ORDER BY principal, key LIMIT $3

-- name: dump_schedules
SELECT s.id, s.*, (SELECT count(*) FROM mainspring.fires f WHERE f.schedule = s.id) AS fires
FROM mainspring.schedules s WHERE s.id > $1 ORDER BY s.id LIMIT $2

-- name: dump_fires
SELECT schedule, n, decided_us, first_us, last_us, count, task, reason FROM mainspring.fires
WHERE (schedule, n) > ($1, $2) ORDER BY schedule, n LIMIT $3

-- name: dump_limits
SELECT name, rule FROM mainspring.limits WHERE name > $1 ORDER BY name LIMIT $2

-- name: dump_pauses
SELECT queue, by FROM mainspring.paused WHERE queue > $1 ORDER BY queue LIMIT $2

-- name: dump_shares
SELECT tenant, weight, virtual_us FROM mainspring.shares WHERE tenant > $1 ORDER BY tenant LIMIT $2

-- name: unfinished_load
SELECT copy FROM mainspring.loading

-- name: what_is_there
-- What there may not be in a store that is to be filled.
SELECT what FROM (
    SELECT 'tasks' AS what WHERE EXISTS (SELECT FROM mainspring.tasks)
    UNION ALL SELECT 'submissions' WHERE EXISTS (SELECT FROM mainspring.submissions)
    UNION ALL SELECT 'workflows' WHERE EXISTS (SELECT FROM mainspring.workflows)
    UNION ALL SELECT 'idempotency keys' WHERE EXISTS (
        SELECT FROM mainspring.idempotency WHERE expires_us > mainspring.now_us()
    )
    UNION ALL SELECT 'schedules' WHERE EXISTS (SELECT FROM mainspring.schedules)
    UNION ALL SELECT 'limits' WHERE EXISTS (SELECT FROM mainspring.limits)
    UNION ALL SELECT 'pauses' WHERE EXISTS (SELECT FROM mainspring.paused)
    UNION ALL SELECT 'weights' WHERE EXISTS (SELECT FROM mainspring.shares WHERE weight <> 1)
) AS there LIMIT 1

-- name: empty_store
-- What an earlier copy has left behind, or tasks that were all forgotten. Lanes are numbers for names, which nodes
-- know by heart, and stay.
TRUNCATE mainspring.tasks, mainspring.edges, mainspring.unresolved, mainspring.counts, mainspring.claimants,
    mainspring.workflows, mainspring.steps, mainspring.logged, mainspring.logs, mainspring.history,
    mainspring.idempotency, mainspring.schedules, mainspring.fires, mainspring.limits, mainspring.arrivals,
    mainspring.paused, mainspring.shares

-- name: mark_loading
INSERT INTO mainspring.loading (id, copy) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET copy = EXCLUDED.copy

-- name: unmark_loading
DELETE FROM mainspring.loading WHERE copy = $1

-- name: numbers_go_on
-- What is numbered from now on comes after all that was loaded.
SELECT
    setval(pg_get_serial_sequence('mainspring.workflows', 'n'),
        (SELECT coalesce(max(n), 0) + 1 FROM mainspring.workflows), false),
    setval(pg_get_serial_sequence('mainspring.fires', 'n'),
        (SELECT coalesce(max(n), 0) + 1 FROM mainspring.fires), false)

-- name: load_tasks
INSERT INTO mainspring.tasks (
    id, lane_id, state, payload, created_at_us, version, run_at_us, policy, timeout_us, deadline_us, labels, name,
    token, attempt, retries, losses, snoozes, worker, started_at_us, finished_at_us, cancel_requested_at_us,
    result, error, attempts, checkpoint, progress, seq, schedule_id, fire_at_us, settled_token, settled_digest,
    unique_digest, fingerprint, noted_token, noted, rule
)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::smallint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[],
    $9::bigint[], $10::bigint[], $11::bytea[], $12::text[], $13::bigint[], $14::integer[], $15::integer[],
    $16::integer[], $17::integer[], $18::text[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bytea[],
    $23::bytea[], $24::bytea[], $25::bytea[], $26::bytea[], $27::bigint[], $28::text[], $29::bigint[],
    $30::bigint[], $31::bigint[], $32::bytea[], $33::bigint[], $34::bigint[], $35::bigint[], $36::smallint[]
)
ON CONFLICT (id) DO NOTHING
RETURNING lane_id, state

-- name: load_workflows
INSERT INTO mainspring.workflows (n, id, created_at_us, name, labels, callbacks, forgotten)
OVERRIDING SYSTEM VALUE
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bytea[], $6::bytea[], $7::bytea[]
)
ON CONFLICT (id) DO NOTHING

-- name: join_workflows
UPDATE mainspring.tasks t SET workflow = m.workflow, callback = m.callback, ordinal = m.ordinal
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::integer[]) AS m (task, workflow, callback, ordinal)
WHERE t.id = m.task

-- name: load_depends_on
UPDATE mainspring.tasks t SET depends_on = d.parents
FROM unnest($1::text[], $2::bytea[]) AS d (task, parents)
WHERE t.id = d.task

-- name: load_edges
-- To parents that are still there. The child's rule comes with the child.
INSERT INTO mainspring.edges (parent, child, rule, open)
SELECT p.id, c.id, c.rule, e.open
FROM unnest($1::text[], $2::text[], $3::boolean[]) AS e (parent, child, open)
JOIN mainspring.tasks p ON p.id = e.parent
JOIN mainspring.tasks c ON c.id = e.child
ON CONFLICT (parent, child) DO NOTHING

-- name: load_parents
UPDATE mainspring.tasks SET is_parent = true WHERE id = ANY ($1::text[]) AND NOT is_parent

-- name: load_unresolved
INSERT INTO mainspring.unresolved (parent)
SELECT t.id FROM mainspring.tasks t WHERE t.id = ANY ($1::text[]) AND t.state + 0 >= 5
ON CONFLICT DO NOTHING

-- name: load_steps
INSERT INTO mainspring.steps (task, n, name, result)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[])
ON CONFLICT DO NOTHING

-- name: load_heads
INSERT INTO mainspring.logged (task, token, base, ends, kept)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
ON CONFLICT DO NOTHING

-- name: load_blocks
INSERT INTO mainspring.logs (task, ends, weight, pieces)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
ON CONFLICT DO NOTHING

-- name: load_keys
INSERT INTO mainspring.idempotency (principal, key, digest, expires_us, tasks)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bytea[])
ON CONFLICT DO NOTHING

-- name: load_schedule
-- What people write, then what is the scheduler's own.
INSERT INTO mainspring.schedules (
    cron, every_s, at, anchor_at, zone, dst, start_at, end_at, misfire, misfire_limit, misfire_grace_s, overlap,
    jitter_s, paused, kind, payload, queue, tenant, priority, key, name, timeout_s, labels, policy,
    id, version, mark, standing, look_us, quarantine, created_us, updated_us, last_fire_us, last_task, records
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35
)
ON CONFLICT DO NOTHING

-- name: load_fires
INSERT INTO mainspring.fires (schedule, n, decided_us, first_us, last_us, count, task, reason)
OVERRIDING SYSTEM VALUE
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[]
)
ON CONFLICT DO NOTHING

-- name: load_limit
INSERT INTO mainspring.limits (name, rule) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET rule = EXCLUDED.rule

-- name: load_share
INSERT INTO mainspring.shares (tenant, weight, virtual_us) VALUES ($1, $2, $3)
ON CONFLICT (tenant) DO UPDATE SET weight = EXCLUDED.weight, virtual_us = EXCLUDED.virtual_us
