-- Workflows and their tasks.

-- name: add_workflows
INSERT INTO mainspring.workflows (id, created_at_us, name, labels, callbacks)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[])
ON CONFLICT DO NOTHING

-- name: taken_workflows
SELECT id FROM mainspring.workflows WHERE id = ANY ($1::text[])

-- name: workflow
SELECT * FROM mainspring.workflows WHERE id = $1

-- name: workflows_before
SELECT * FROM mainspring.workflows WHERE n < $1 ORDER BY n DESC LIMIT $2

-- name: count_members
SELECT workflow, state, count(*) AS n FROM mainspring.tasks
WHERE workflow IS NOT NULL AND workflow = ANY ($1::text[]) AND callback IS NULL
GROUP BY workflow, state

-- name: callbacks_of
SELECT workflow, callback, state, error FROM mainspring.tasks
WHERE workflow IS NOT NULL AND workflow = ANY ($1::text[]) AND callback > 0

-- name: workflow_graph
-- Parents before children, callbacks last.
SELECT id, name, lane_id, state, callback, attempt, retries, run_at_us, started_at_us, finished_at_us, worker,
    depends_on
FROM mainspring.tasks
WHERE workflow IS NOT NULL AND workflow = $1
ORDER BY coalesce(callback, 0), ordinal

-- name: last_ends
SELECT workflow, state, max(finished_at_us) AS end_us FROM mainspring.tasks
WHERE workflow IS NOT NULL AND workflow = ANY ($1::text[])
GROUP BY workflow, state

-- name: lock_workflows
SELECT w.id, w.forgotten, NOT EXISTS (
    SELECT FROM mainspring.tasks t WHERE t.workflow IS NOT NULL AND t.workflow = w.id
) AS is_empty
FROM mainspring.workflows w WHERE w.id = ANY ($1::text[]) ORDER BY w.id FOR UPDATE OF w

-- name: put_forgotten
UPDATE mainspring.workflows SET forgotten = $2 WHERE id = $1

-- name: drop_empty_workflows
-- Looked at once more: others may have taken the rest of its tasks before the workflow was locked.
DELETE FROM mainspring.workflows w
WHERE w.id = ANY ($1::text[]) AND NOT EXISTS (
    SELECT FROM mainspring.tasks t WHERE t.workflow IS NOT NULL AND t.workflow = w.id
)

-- name: unfinished_of
-- Those to be cancelled: with the callbacks if $2.
SELECT id FROM mainspring.tasks
WHERE workflow IS NOT NULL AND workflow = $1 AND state + 0 <= 4 AND ($2::boolean OR callback IS NULL)

-- name: standings
SELECT t.id, t.state, t.rule, t.attempt, t.error, t.depends_on FROM mainspring.tasks t
WHERE t.workflow IS NOT NULL AND t.workflow = $1
ORDER BY t.ordinal

-- name: states
SELECT id, state FROM mainspring.tasks WHERE id = ANY ($1::text[])

-- name: ids_of_workflow
SELECT id FROM mainspring.tasks WHERE workflow IS NOT NULL AND workflow = $1

-- name: lock_workflow
SELECT id FROM mainspring.workflows WHERE id = $1 FOR UPDATE
