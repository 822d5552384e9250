-- Reports on runs, fenced by their tokens.

-- name: settle
-- One line per task. A line carries one change (branch 0), or one for the task as it is (1) and one for the
-- case that its cancellation was requested (2); the row's own flag picks.
-- Lines: $1 task, $2 token, $3 digest, $4 only_if_lapsed. Changes: $5 line, $6 branch, $7 state, $8 keeps_place,
-- $9 attempt, $10 retries, $11 losses, $12 snoozes, $13 delay_us, $14 result, $15 error, $16 attempts.
WITH line AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[])
        WITH ORDINALITY AS l (task, token, digest, only_if_lapsed, place)
), change AS (
    SELECT * FROM unnest(
        $5::integer[], $6::integer[], $7::smallint[], $8::boolean[], $9::integer[], $10::integer[],
        $11::integer[], $12::integer[], $13::bigint[], $14::bytea[], $15::bytea[], $16::bytea[]
    ) AS c (
        line, branch, state, keeps_place, attempt, retries, losses, snoozes, delay_us, result, error, attempts
    )
), locked AS MATERIALIZED (
    SELECT id, cancel_requested_at_us IS NOT NULL AS cancelled
    FROM mainspring.tasks WHERE id = ANY ($1) ORDER BY id FOR UPDATE
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    state = change.state,
    version = greatest(t.version + 1, moment.now_us),
    settled_token = line.token,
    settled_digest = line.digest,
    attempt = change.attempt,
    retries = change.retries,
    losses = change.losses,
    snoozes = change.snoozes,
    result = change.result,
    error = change.error,
    attempts = change.attempts,
    run_at_us = CASE change.state WHEN 2 THEN moment.now_us + change.delay_us ELSE t.run_at_us END,
    seq = CASE WHEN change.state <> 3 OR change.keeps_place THEN t.seq ELSE moment.now_us + line.place END,
    worker = CASE WHEN change.state > 4 THEN t.worker END,
    finished_at_us = CASE WHEN change.state > 4 THEN moment.now_us END,
    lease_until_us = NULL,
    timeout_at_us = NULL
FROM line, change, locked, moment
WHERE t.id = line.task AND locked.id = line.task AND change.line = line.place
    AND (change.branch = 0 OR change.branch = CASE WHEN locked.cancelled THEN 2 ELSE 1 END)
    AND t.state = 4 AND t.token = line.token
    AND (NOT line.only_if_lapsed OR t.lease_until_us <= moment.now_us)
RETURNING line.place, t.state, locked.cancelled, t.lane_id, t.is_parent

-- name: settled
-- Why lines were not written.
SELECT id, state, token, settled_token, settled_digest FROM mainspring.tasks WHERE id = ANY ($1::text[])
