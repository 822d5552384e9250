-- Ended parents and the children that wait for them. What an end means for a child is said by core.dag: each
-- parent ($1) comes with a rule ($2) for children of which the end is to be applied.

-- name: waiting_edges
-- Up to $3 edges to children to which an end applies. Found parent by parent: `OFFSET 0` keeps the planner from any
-- other order, which it would like better while it takes the table for small.
SELECT p.parent, e.child
FROM unnest($1::text[], $2::smallint[]) AS p (parent, rule)
CROSS JOIN LATERAL (
    SELECT e.child FROM mainspring.edges e WHERE e.parent = p.parent AND e.rule = p.rule AND e.open OFFSET 0
) AS e
LIMIT $3

-- name: close_edges
-- `e.open` alone would let the planner go through all children of each parent by their partial index.
UPDATE mainspring.edges e SET open = false
FROM unnest($1::text[], $2::text[]) AS w (parent, child)
WHERE e.parent = w.parent AND e.child = w.child AND e.open::integer = 1
RETURNING e.parent, e.child

-- name: free_among
-- Those of the locked children $1 that wait for nobody. One probe a child: a child of thousands must not cost as
-- many steps with each of them that ends.
SELECT c.child FROM unnest($1::text[]) AS c (child)
WHERE NOT EXISTS (SELECT FROM mainspring.edges e WHERE e.child = c.child AND e.open OFFSET 0)

-- name: states_of_parents
SELECT DISTINCT e.child, t.state
FROM mainspring.edges e JOIN mainspring.tasks t ON t.id = e.parent
WHERE e.child = ANY ($1::text[])

-- name: close_edges_of_children
UPDATE mainspring.edges SET open = false WHERE child = ANY ($1::text[]) AND open

-- name: closed_edges
SELECT p.parent, e.child
FROM unnest($1::text[]) AS p (parent)
CROSS JOIN LATERAL (
    SELECT e.child FROM mainspring.edges e WHERE e.parent = p.parent AND NOT e.open OFFSET 0
) AS e

-- name: open_edges
UPDATE mainspring.edges e SET open = true
FROM unnest($1::text[], $2::text[]) AS w (parent, child)
WHERE e.parent = w.parent AND e.child = w.child

-- part: waiting
-- One probe for each parent and rule.
unnest($1::text[], $2::smallint[]) AS p (parent, rule)
CROSS JOIN LATERAL (
    SELECT FROM mainspring.edges e WHERE e.parent = p.parent AND e.rule = p.rule AND e.open LIMIT 1
) AS e

-- name: leave_unresolved
-- What is left of the ends is work for `resolve`.
INSERT INTO mainspring.unresolved (parent)
SELECT DISTINCT p.parent FROM {waiting}
ORDER BY p.parent
ON CONFLICT DO NOTHING

-- name: unresolved
-- Parents with children left. Locked, so that none is replayed meanwhile; those that another node works on are
-- passed over.
SELECT p.id, p.state FROM mainspring.unresolved u JOIN mainspring.tasks p ON p.id = u.parent
ORDER BY p.id LIMIT $1 FOR UPDATE OF p SKIP LOCKED

-- name: resolved
-- Forget those of the parents $3 that have no children left under their rules ($1, $2).
DELETE FROM mainspring.unresolved u
WHERE u.parent = ANY ($3::text[]) AND u.parent <> ALL (ARRAY(
    SELECT DISTINCT p.parent FROM {waiting}
))

-- name: put_unresolved
INSERT INTO mainspring.unresolved (parent) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING
