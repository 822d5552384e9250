-- What every exchange reads and writes around its lines.

-- name: opening
-- The moment of the transaction, and whether the node's picture of limits and pauses is still good.
SELECT mainspring.now_us() AS now_us, generation FROM mainspring.controls

-- name: add_lanes
-- $1 queues, $2 kinds, $3 tenants, $4 priorities, $5 keys. In an order of their own, so that two nodes
-- that add the same lanes never wait for each other in a circle.
INSERT INTO mainspring.lanes (id, queue, kind, tenant, priority, key)
SELECT mainspring.now_us() + row_number() OVER (), l.*
FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[]) AS l (queue, kind, tenant, priority, key)
ORDER BY queue, kind, tenant, priority, key
ON CONFLICT DO NOTHING

-- name: lanes_by_name
SELECT l.* FROM mainspring.lanes l
JOIN unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[]) AS w (queue, kind, tenant, priority, key)
USING (queue, kind, tenant, priority, key)

-- name: lanes_by_id
SELECT * FROM mainspring.lanes WHERE id = ANY ($1::bigint[])

-- name: heads
-- The oldest place of each of the lanes $1 that has ready tasks from the place $2 on (lines.py).
SELECT l.id, head.seq
FROM unnest($1::bigint[], $2::bigint[]) AS l (id, start)
CROSS JOIN LATERAL (
    SELECT seq FROM mainspring.tasks WHERE lane_id = l.id AND seq >= l.start AND state = 3 ORDER BY seq LIMIT 1
) AS head

-- name: charge
-- $1 tenant, $2 cost, $3 floor
INSERT INTO mainspring.shares AS s (tenant, virtual_us) VALUES ($1, greatest(0, $3::double precision) + $2::double precision)
ON CONFLICT (tenant) DO UPDATE SET virtual_us = greatest(s.virtual_us, $3) + $2 / s.weight

-- name: weigh
INSERT INTO mainspring.shares (tenant, weight) VALUES ($1, $2)
ON CONFLICT (tenant) DO UPDATE SET weight = EXCLUDED.weight


-- part: count
INSERT INTO mainspring.counts AS c (slot, queue, state, n) SELECT pg_backend_pid() % 64, d.*

-- part: counting
ON CONFLICT (slot, queue, state) DO UPDATE SET n = c.n + EXCLUDED.n

-- name: add_counts
{count} FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS d (queue, state, n) {counting}

-- name: counted
SELECT coalesce(sum(n), 0)::bigint FROM mainspring.counts WHERE queue = $1 AND state = ANY ($2::smallint[])

-- part: record
INSERT INTO mainspring.history (task, at_us, old, cause, new, attempt, token)

-- name: add_steps
{record}
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::smallint[], $4::smallint[], $5::smallint[], $6::integer[], $7::bigint[]
)
