-- Why a task is not running, and what killed those that are dead.

-- name: place_in_line
SELECT count(*) FROM mainspring.tasks WHERE state = 3 AND lane_id = $1 AND seq < $2

-- name: waiting_in_lanes
-- Counted no further than $2 in each lane.
SELECT lane.lane_id, (
    SELECT count(*) FROM (
        SELECT FROM mainspring.tasks t WHERE t.state = 3 AND t.lane_id = lane.lane_id LIMIT $2
    ) AS counted
) AS n
FROM unnest($1::bigint[]) AS lane (lane_id)

-- name: late_in_line
SELECT lane_id, seq FROM mainspring.tasks
WHERE deadline_us IS NOT NULL AND state <= 3 AND deadline_us < mainspring.now_us() AND state + 0 = 3

-- name: running_in_lanes
SELECT id FROM mainspring.tasks WHERE state = 4 AND lane_id = ANY ($1::bigint[]) LIMIT $2

-- name: open_parents
SELECT p.id, p.name, p.state FROM mainspring.edges e JOIN mainspring.tasks p ON p.id = e.parent
WHERE e.child = $1 AND e.open
ORDER BY p.id LIMIT $2

-- name: dead_groups
-- The largest first, from the rank ($1, $2) on.
SELECT fingerprint, count(*) AS n, min(finished_at_us) AS first_us, max(finished_at_us) AS last_us
FROM mainspring.tasks WHERE fingerprint IS NOT NULL
GROUP BY fingerprint
HAVING (-count(*), fingerprint) > ($1::bigint, $2::bigint)
ORDER BY count(*) DESC, fingerprint LIMIT $3

-- name: last_letter
SELECT id, lane_id, error FROM mainspring.tasks WHERE fingerprint IS NOT NULL AND fingerprint = $1
ORDER BY finished_at_us DESC, id DESC LIMIT 1
