-- Groups of new tasks: what is looked at before they are stored, and the storing.

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
