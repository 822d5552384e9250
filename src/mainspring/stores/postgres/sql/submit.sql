-- Groups of new tasks: what is looked at before they are stored, and the storing.

-- name: submit_plain
-- New tasks that are ready at once and touch no others, as a transaction of its own. $1 generation, $2 task, $3 lane,
-- $4 payload, $5 policy, $6 timeout_us, $7 deadline_us, $8 labels, $9 name, $10 rule; $11 queues and $12 the number of
-- tasks in each; $13 what to call the step in the tasks' histories, if they are kept; $14 the lanes, and $15 the place
-- from which on to look in each (lines.py). Returns where their lines begin now: this statement does not see what it
-- adds itself.
WITH current AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us FROM mainspring.controls WHERE generation = $1
), counted AS (
    {count} FROM (
        SELECT queue, 3::smallint, n FROM current, unnest($11::text[], $12::bigint[]) AS c (queue, n)
    ) AS d {counting}
), added AS (
    INSERT INTO mainspring.tasks (
        id, lane_id, state, payload, created_at_us, version, seq, policy, timeout_us, deadline_us, labels, name, rule
    )
    SELECT id, lane_id, 3, payload, now_us, now_us + place, now_us + place, policy, timeout_us, deadline_us, labels,
        name, rule
    FROM current, unnest(
        $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bytea[], $9::text[],
        $10::smallint[]
    ) WITH ORDINALITY AS l (id, lane_id, payload, policy, timeout_us, deadline_us, labels, name, rule, place)
    RETURNING id, lane_id, seq, created_at_us
), recorded AS (
    {record} SELECT id, created_at_us, NULL, $13, 3, 0, 0 FROM added WHERE $13::smallint IS NOT NULL
)
SELECT now_us, lane_id, least(gained.seq, head.seq) AS seq
FROM current, (SELECT lane_id, min(seq) AS seq FROM added GROUP BY lane_id) AS gained
JOIN unnest($14::bigint[], $15::bigint[]) AS line (lane_id, start) USING (lane_id)
LEFT JOIN LATERAL (
    SELECT seq FROM mainspring.tasks t
    WHERE t.lane_id = line.lane_id AND seq >= line.start AND state = 3 ORDER BY seq LIMIT 1
) AS head ON true

-- name: submit_lock
-- Held to the end of the transaction by everybody who submits under the same digest or key. $1 in order.
SELECT pg_advisory_xact_lock(1297696577, stripe) FROM unnest($1::integer[]) AS s (stripe)

-- name: keys
SELECT i.principal, i.key, i.digest, i.tasks
FROM mainspring.idempotency i
JOIN unnest($1::text[], $2::text[]) AS w (principal, key) USING (principal, key)
WHERE i.expires_us > mainspring.now_us()

-- name: unique_matches
-- The latest task under each rule. $1 digest, $2 states as bits, $3 period. A task exactly a period old is out.
SELECT rule.n, latest.id
FROM unnest($1::bytea[], $2::integer[], $3::bigint[]) WITH ORDINALITY AS rule (digest, states, period_us, n)
CROSS JOIN LATERAL (
    SELECT id FROM mainspring.tasks
    WHERE unique_digest = rule.digest AND (rule.states >> state) & 1 = 1
        AND (rule.period_us IS NULL OR created_at_us > mainspring.now_us() - rule.period_us)
    ORDER BY created_at_us DESC, id DESC LIMIT 1
) AS latest

-- name: stored
SELECT id FROM mainspring.tasks WHERE id = ANY ($1::text[])

-- name: become_parents
-- Locks the parents in the order of their ids. Their end then waits for these children to be stored, or was
-- before, and is seen here: no child is ever left out.
WITH locked AS MATERIALIZED (
    SELECT id FROM mainspring.tasks WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE
)
UPDATE mainspring.tasks t SET is_parent = true FROM locked WHERE t.id = locked.id
RETURNING t.id, t.state

-- name: insert_edges
INSERT INTO mainspring.edges (parent, child, rule, open)
SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::boolean[])

-- name: put_keys
-- A key that is here already has expired, or it would have been found.
INSERT INTO mainspring.idempotency (principal, key, digest, expires_us, tasks)
SELECT principal, key, digest, mainspring.now_us() + ttl_us, tasks
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bytea[]) AS k (principal, key, digest, ttl_us, tasks)
ON CONFLICT (principal, key) DO UPDATE
SET digest = EXCLUDED.digest, expires_us = EXCLUDED.expires_us, tasks = EXCLUDED.tasks
