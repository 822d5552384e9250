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
-- All that the incarnations $1 hold from claims up to $2.
SELECT t.id, t.token
FROM unnest($1::text[], $2::bigint[]) AS w (incarnation, claim_seq)
JOIN mainspring.tasks t ON t.incarnation = w.incarnation AND t.claim_seq <= w.claim_seq AND t.state = 4

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
RETURNING t.id, t.state, t.lane_id, t.is_parent, t.attempt, t.token

-- name: expired
-- Leases that have lapsed, oldest first. Running rows are few: they are read whole.
SELECT {lease} FROM mainspring.tasks t
WHERE t.state = 4 AND t.lease_until_us <= mainspring.now_us() AND t.worker IS NOT NULL
ORDER BY t.lease_until_us, t.id LIMIT $1

-- name: overrun
-- Runs past their timeout or deadline by $2, the longest overdue first.
SELECT {lease} FROM mainspring.tasks t
WHERE t.state = 4 AND t.timeout_at_us <= mainspring.now_us() - $2 AND t.worker IS NOT NULL
ORDER BY t.timeout_at_us, t.id LIMIT $1

-- name: leases
SELECT {lease} FROM mainspring.tasks t WHERE t.id = ANY ($1::text[]) AND t.state + 0 = 4 AND t.worker IS NOT NULL
