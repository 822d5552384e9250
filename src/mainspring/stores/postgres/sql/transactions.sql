-- What users submit in transactions of their own, until it is taken in.

-- name: submissions
-- The oldest $1, but only as many as have about $2 bytes together; one at least.
SELECT n, id, convert_to(document, 'UTF8') AS document FROM (
    SELECT n, id, document, sum(octet_length(document)) OVER (ORDER BY n) - octet_length(document) AS before
    FROM (SELECT n, id, task::text AS document FROM mainspring.submissions ORDER BY n LIMIT $1) AS oldest
) AS measured
WHERE before < $2

-- name: submission_of
SELECT n, id, convert_to(task::text, 'UTF8') AS document FROM mainspring.submissions WHERE id = $1

-- name: lock_submissions
-- Those that another node takes in at this moment are passed over.
SELECT n FROM mainspring.submissions WHERE n = ANY ($1::bigint[]) ORDER BY n FOR UPDATE SKIP LOCKED

-- name: submitted_parents
-- Those of the ids that are not taken in yet. To be asked before the tasks: rows go from here to there.
SELECT id, n FROM mainspring.submissions WHERE id = ANY ($1::text[])

-- name: drop_submissions
DELETE FROM mainspring.submissions WHERE n = ANY ($1::bigint[])
