-- Reading.

-- name: all_heads
-- A loose scan: from each lane the index is asked for the next one, so that the cost goes with the number of lanes
-- that have work, not with the work, nor with the lanes that once had some.
WITH RECURSIVE active (lane_id) AS (
    (SELECT lane_id FROM mainspring.tasks WHERE state = 3 ORDER BY lane_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT t.lane_id FROM mainspring.tasks t WHERE t.state = 3 AND t.lane_id > active.lane_id
        ORDER BY t.lane_id LIMIT 1
    ) FROM active WHERE active.lane_id IS NOT NULL
)
SELECT active.lane_id, head.seq
FROM active
CROSS JOIN LATERAL (
    SELECT seq FROM mainspring.tasks WHERE lane_id = active.lane_id AND state = 3 ORDER BY seq LIMIT 1
) AS head

-- name: all_shares
SELECT tenant, weight, virtual_us FROM mainspring.shares

-- name: stats
SELECT queue, state, sum(n)::bigint AS n FROM mainspring.counts GROUP BY queue, state HAVING sum(n) <> 0

-- name: history
SELECT * FROM mainspring.history WHERE task = $1 ORDER BY n

-- part: look
SELECT t.id, t.state, t.lane_id, t.labels, t.fingerprint FROM mainspring.tasks t

-- name: look_at_all
{look} WHERE t.id < $1 ORDER BY t.id DESC LIMIT $2

-- name: look_at_running
-- Running rows are few: they are read whole.
{look} WHERE t.state = 4 AND t.id || '' < $1 ORDER BY t.id || '' DESC LIMIT $2

-- name: look_at_ended_badly
SELECT b.* FROM unnest($3::smallint[]) AS s (state)
CROSS JOIN LATERAL (
    {look} WHERE t.state >= 6 AND t.state = s.state AND t.id < $1 ORDER BY t.id DESC LIMIT $2
) AS b
ORDER BY b.id DESC LIMIT $2

-- name: look_at_workflow
{look} WHERE t.workflow IS NOT NULL AND t.workflow = $3 AND t.id || '' < $1 ORDER BY t.id || '' DESC LIMIT $2
