-- Ended parents and the children that wait for them. What an end ($1 parent, $2 whether it succeeded) means for
-- a child: release it, if the parent succeeded or the child's rule is 2 (run); doom it, if the rule is 1
-- (cancel) and $3 says that this call may; hold it, if the rule is 3 (block).

-- name: lock_children
-- Up to $4 children to which an end applies, taken in the order of their ids.
SELECT id FROM mainspring.tasks
WHERE state + 0 = 1 AND id IN (
    SELECT DISTINCT e.child
    FROM unnest($1::text[], $2::boolean[]) AS p (parent, succeeded)
    JOIN mainspring.edges e ON e.parent = p.parent AND e.open
    JOIN mainspring.tasks c ON c.id = e.child AND c.state + 0 = 1
        AND (p.succeeded OR c.on_parent_failure = 2 OR $3 AND c.on_parent_failure = 1)
    LIMIT $4
)
ORDER BY id FOR UPDATE

-- name: apply_ends
-- Apply the ends to the locked children $4, all edges of a child at once. $5 is the error of a doomed one.
-- Edges are found by their parent: `|| ''` keeps the planner from reading the whole index for the children.
WITH closed AS (
    UPDATE mainspring.edges e SET open = false
    FROM unnest($1::text[], $2::boolean[]) AS p (parent, succeeded), mainspring.tasks c
    WHERE e.parent = p.parent AND e.open AND e.child || '' = ANY ($4::text[]) AND c.id = e.child
        AND (p.succeeded OR c.on_parent_failure = 2 OR $3 AND c.on_parent_failure = 1)
    RETURNING e.child, NOT p.succeeded AND c.on_parent_failure = 1 AS dooms
), child AS (
    SELECT child AS id, count(*)::integer AS ended, bool_or(dooms) AS doomed, row_number() OVER (ORDER BY child) AS place
    FROM closed GROUP BY child
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
), verdict AS (
    SELECT child.*, now_us, CASE
        WHEN child.doomed THEN 7
        WHEN t.open_parents > child.ended THEN 1
        WHEN t.run_at_us > now_us THEN 2
        ELSE 3
    END AS state
    FROM child JOIN mainspring.tasks t ON t.id = child.id, moment
)
UPDATE mainspring.tasks t SET
    state = v.state,
    open_parents = CASE v.state WHEN 1 THEN t.open_parents - v.ended ELSE 0 END,
    seq = CASE v.state WHEN 3 THEN v.now_us + v.place ELSE t.seq END,
    version = CASE v.state WHEN 1 THEN t.version ELSE greatest(t.version + 1, v.now_us) END,
    finished_at_us = CASE v.state WHEN 7 THEN v.now_us END,
    error = CASE v.state WHEN 7 THEN $5::bytea END
FROM verdict v
WHERE t.id = v.id
RETURNING t.id, t.state, t.lane_id, t.is_parent

-- name: leave_unresolved
-- What is left of the ends is work for `resolve`, but for children that hold.
INSERT INTO mainspring.unresolved (parent)
SELECT p.parent FROM unnest($1::text[], $2::boolean[]) AS p (parent, succeeded)
WHERE EXISTS (
    SELECT FROM mainspring.edges e JOIN mainspring.tasks c ON c.id = e.child
    WHERE e.parent = p.parent AND e.open AND c.state + 0 = 1 AND (p.succeeded OR c.on_parent_failure <> 3)
)
ORDER BY p.parent
ON CONFLICT DO NOTHING

-- name: unresolved
-- Parents with children left. Locked, so that none is replayed meanwhile; those that another node works on are
-- passed over.
SELECT p.id, p.state FROM mainspring.unresolved u JOIN mainspring.tasks p ON p.id = u.parent
ORDER BY p.id LIMIT $1 FOR UPDATE OF p SKIP LOCKED

-- name: resolved
-- Forget those of $1 (succeeded: $2) that have no children left, and all of $3.
DELETE FROM mainspring.unresolved u
WHERE u.parent = ANY ($3::text[]) OR u.parent IN (
    SELECT p.parent FROM unnest($1::text[], $2::boolean[]) AS p (parent, succeeded)
    WHERE NOT EXISTS (
        SELECT FROM mainspring.edges e JOIN mainspring.tasks c ON c.id = e.child
        WHERE e.parent = p.parent AND e.open AND c.state + 0 = 1 AND (p.succeeded OR c.on_parent_failure <> 3)
    )
)
