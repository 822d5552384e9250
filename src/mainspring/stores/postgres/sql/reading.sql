-- Reading.

-- name: all_heads
-- A loose scan: from each lane the index is asked for the next one, so that the cost goes with the number of lanes
-- that have work, not with the work, nor with the lanes that once had some.
-- $1 lanes, each looked at from the place $2 on (lines.py); the others are those between $3 and $4.
WITH RECURSIVE other (lane_id, seq, upto) AS (
    SELECT head.lane_id, head.seq, gap.upto
    FROM unnest($3::bigint[], $4::bigint[]) AS gap (after, upto)
    CROSS JOIN LATERAL (
        SELECT t.lane_id, t.seq FROM mainspring.tasks t
        WHERE t.state = 3 AND t.lane_id > gap.after AND t.lane_id < gap.upto AND t.seq IS NOT NULL
        ORDER BY t.lane_id, t.seq LIMIT 1
    ) AS head
    UNION ALL
    SELECT head.lane_id, head.seq, other.upto
    FROM other
    CROSS JOIN LATERAL (
        SELECT t.lane_id, t.seq FROM mainspring.tasks t
        WHERE t.state = 3 AND t.lane_id > other.lane_id AND t.lane_id < other.upto AND t.seq IS NOT NULL
        ORDER BY t.lane_id, t.seq LIMIT 1
    ) AS head
)
SELECT lane_id, seq FROM other
UNION ALL
SELECT known.lane_id, head.seq
FROM unnest($1::bigint[], $2::bigint[]) AS known (lane_id, start)
CROSS JOIN LATERAL (
    SELECT t.seq FROM mainspring.tasks t
    WHERE t.state = 3 AND t.lane_id = known.lane_id AND t.seq >= known.start ORDER BY t.seq LIMIT 1
) AS head

-- name: all_shares
SELECT tenant, weight, virtual_us FROM mainspring.shares

-- name: stats
SELECT queue, state, sum(n)::bigint AS n FROM mainspring.counts GROUP BY queue, state HAVING sum(n) <> 0

-- name: history
SELECT * FROM mainspring.history WHERE task = $1 ORDER BY n

-- part: look
SELECT t.id, t.state, t.lane_id, t.labels, t.fingerprint,
    octet_length(t.payload) + coalesce(octet_length(t.result), 0) + coalesce(octet_length(t.error), 0)
        + coalesce(octet_length(t.attempts), 0) + coalesce(octet_length(t.checkpoint), 0)
        + coalesce(octet_length(t.progress), 0) AS size
FROM mainspring.tasks t

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
