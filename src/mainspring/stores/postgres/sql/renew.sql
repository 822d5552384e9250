-- Heartbeats.

-- name: renew
-- $1 task, $2 token, $3 started, $4 lease_us. A task not yet started has its run time counted anew.
WITH locked AS MATERIALIZED (
    SELECT l.*
    FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::bigint[])
        WITH ORDINALITY AS l (task, token, started, lease_us, place)
    JOIN mainspring.tasks t ON t.id = l.task
    ORDER BY t.id FOR UPDATE OF t
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    lease_until_us = moment.now_us + l.lease_us,
    started_at_us = CASE WHEN l.started THEN t.started_at_us ELSE moment.now_us END,
    timeout_at_us = CASE
        WHEN l.started THEN t.timeout_at_us
        ELSE least(moment.now_us + t.timeout_us, t.deadline_us)
    END
FROM locked l, moment
WHERE t.id = l.task AND t.state + 0 = 4 AND t.token = l.token
RETURNING l.place, t.cancel_requested_at_us IS NOT NULL AS cancelled

-- name: granted
-- All that the incarnations $1 hold from claims up to $2, from the claims $3 on (runs.py).
SELECT t.id, t.token
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS w (incarnation, claim_seq, first)
JOIN mainspring.tasks t
ON t.incarnation = w.incarnation AND t.claim_seq <= w.claim_seq AND t.claim_seq >= w.first AND t.state = 4

-- name: hand_back
-- $1 task, $2 token: leases whose answer was lost on the way. The tasks never ran, so nothing is counted, and
-- they keep their place in line.
WITH locked AS MATERIALIZED (
    SELECT l.*
    FROM unnest($1::text[], $2::bigint[]) AS l (task, token) JOIN mainspring.tasks t ON t.id = l.task
    ORDER BY t.id FOR UPDATE OF t
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    state = CASE WHEN t.cancel_requested_at_us IS NULL THEN 3 ELSE 7 END,
    version = greatest(t.version + 1, moment.now_us),
    attempt = t.attempt - 1,
    worker = CASE WHEN t.cancel_requested_at_us IS NOT NULL THEN t.worker END,
    incarnation = CASE WHEN t.cancel_requested_at_us IS NOT NULL THEN t.incarnation END,
    finished_at_us = CASE WHEN t.cancel_requested_at_us IS NOT NULL THEN moment.now_us END,
    lease_until_us = NULL,
    timeout_at_us = NULL
FROM locked l, moment
WHERE t.id = l.task AND t.state + 0 = 4 AND t.token = l.token
RETURNING t.id, t.state, t.lane_id, t.is_parent, t.attempt, t.token, t.deadline_us

-- part: known_runs
unnest($1::text[], $2::bigint[], $3::text[]) AS known (incarnation, first, upto)
CROSS JOIN LATERAL (
    SELECT * FROM mainspring.tasks
    WHERE state = 4 AND incarnation = known.incarnation AND claim_seq >= known.first
    UNION ALL
    SELECT * FROM mainspring.tasks
    WHERE state = 4 AND incarnation > known.incarnation AND incarnation < known.upto
) AS t

-- name: expired
-- Leases that have lapsed, oldest first. Running rows are few: they are read whole.
SELECT {lease} FROM mainspring.tasks t
WHERE t.state = 4 AND t.lease_until_us <= mainspring.now_us() AND t.worker IS NOT NULL
ORDER BY t.lease_until_us, t.id LIMIT $1

-- name: expired_of_known
-- $1 incarnations, $2 the first claim of each, $3 up to which others behind it are looked at (runs.py), $4 how many.
SELECT {lease} FROM {known_runs}
WHERE t.lease_until_us <= mainspring.now_us() AND t.worker IS NOT NULL
ORDER BY t.lease_until_us, t.id LIMIT $4

-- name: overrun
-- Runs past their timeout or deadline by $2, the longest overdue first.
SELECT {lease} FROM mainspring.tasks t
WHERE t.state = 4 AND t.timeout_at_us <= mainspring.now_us() - $2 AND t.worker IS NOT NULL
ORDER BY t.timeout_at_us, t.id LIMIT $1

-- name: overrun_of_known
SELECT {lease} FROM {known_runs}
WHERE t.timeout_at_us <= mainspring.now_us() - $5 AND t.worker IS NOT NULL
ORDER BY t.timeout_at_us, t.id LIMIT $4

-- name: running_by_lane
SELECT lane_id, count(*) AS running FROM mainspring.tasks WHERE state = 4 GROUP BY lane_id

-- name: running_by_lane_of_known
SELECT t.lane_id, count(*) AS running FROM {known_runs} GROUP BY t.lane_id

-- name: first_runs
-- The first claim of each worker of which something runs, or the one after its last. $1 incarnations, and the claims
-- $2 from which on to look; those that claimed last, up to $3.
SELECT c.incarnation, coalesce((
    SELECT t.claim_seq FROM mainspring.tasks t
    WHERE t.state = 4 AND t.incarnation = c.incarnation AND t.claim_seq >= coalesce(known.first, 0)
    ORDER BY t.claim_seq LIMIT 1
), c.claim_seq + 1) AS first
FROM (SELECT incarnation, claim_seq FROM mainspring.claimants ORDER BY seen_us DESC LIMIT $3) AS c
LEFT JOIN unnest($1::text[], $2::bigint[]) AS known (incarnation, first) USING (incarnation)

-- name: leases
SELECT {lease} FROM mainspring.tasks t WHERE t.id = ANY ($1::text[]) AND t.state + 0 = 4 AND t.worker IS NOT NULL
