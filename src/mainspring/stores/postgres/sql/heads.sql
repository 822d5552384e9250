-- For a cache of the heads of lanes: what it may know, and taking what it knows.

-- name: claim_known
-- Tasks of which a cache says that they are the heads of their lanes: those that still stand where it saw them.
-- What it is wrong about is passed over, as are rows that another claim holds.
-- $1 tasks, $2 their lanes, $3 their places in line, $4 which quota of the claim each is for; $5 to $9 as in `claim`.
WITH head AS (
    SELECT t.id, known.n, {weight} AS size
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS known (id, lane_id, seq, n, place)
    JOIN mainspring.tasks t ON t.id = known.id
    WHERE t.state + 0 = 3 AND t.lane_id = known.lane_id AND t.seq = known.seq
        AND (t.deadline_us IS NULL OR t.deadline_us >= mainspring.now_us())
    ORDER BY known.place
    FOR UPDATE OF t SKIP LOCKED
), gathered AS MATERIALIZED (
    SELECT array_agg(id) AS ids, array_agg(n) AS ns, array_agg(size) AS sizes, sum(size) AS size FROM head
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    state = 4,
    token = greatest(t.token + 1, moment.now_us + picked.place),
    version = greatest(t.version + 1, moment.now_us),
    attempt = t.attempt + 1,
    worker = $5,
    incarnation = $6,
    claim_seq = $7,
    started_at_us = moment.now_us,
    lease_until_us = moment.now_us + $8,
    timeout_at_us = least(moment.now_us + t.timeout_us, t.deadline_us)
FROM gathered CROSS JOIN LATERAL unnest(gathered.ids, gathered.ns) WITH ORDINALITY AS picked (id, n, place), moment
WHERE t.id = picked.id AND (gathered.size <= $9::bigint OR picked.place <= {fitting})
RETURNING picked.place, picked.n AS ask, t.seq, {lease}

-- name: look_ahead
-- Who comes next in each lane $1 behind the place $2, up to $3 of each, after what this transaction has taken.
SELECT l.id AS lane_id, head.id, head.seq
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS l (id, behind, most)
CROSS JOIN LATERAL (
    SELECT id, seq FROM mainspring.tasks
    WHERE lane_id = l.id AND state = 3 AND seq > l.behind ORDER BY seq LIMIT l.most
) AS head

-- name: count_signal
-- As `say`, for hints that take another way.
SELECT set_config('synchronous_commit', 'off', true), nextval('mainspring.signals')
