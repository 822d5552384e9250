-- Reports on runs, fenced by their tokens.

-- name: settle
-- One line per task: $1 task, $2 token, $3 digest, $4 only_if_lapsed, and two changes: $6-$16 is written, or
-- $17-$27 if $5 says that they differ and cancellation was requested meanwhile. A change: state, keeps_place,
-- attempt, retries, losses, snoozes, delay_us, result, error, attempts, fingerprint.
-- `chosen` is materialized because PostgreSQL looks a row that it had to wait for up again by what joined it, and
-- loses all but the first line of a union in that: holders were told that their leases were lost.
WITH line AS (
    SELECT * FROM unnest(
        $1::text[], $2::bigint[], $3::bigint[], $4::boolean[], $5::boolean[],
        $6::smallint[], $7::boolean[], $8::integer[], $9::integer[], $10::integer[],
        $11::integer[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[], $16::bigint[],
        $17::smallint[], $18::boolean[], $19::integer[], $20::integer[], $21::integer[],
        $22::integer[], $23::bigint[], $24::bytea[], $25::bytea[], $26::bytea[], $27::bigint[]
    ) WITH ORDINALITY AS l (
        task, token, digest, only_if_lapsed, differs,
        state, keeps_place, attempt, retries, losses, snoozes, delay_us, result, error, attempts, fingerprint,
        state_2, keeps_place_2, attempt_2, retries_2, losses_2, snoozes_2, delay_us_2, result_2, error_2,
        attempts_2, fingerprint_2,
        place
    )
), locked AS MATERIALIZED (
    SELECT l.*, t.cancel_requested_at_us IS NOT NULL AS cancelled
    FROM line l JOIN mainspring.tasks t ON t.id = l.task
    ORDER BY t.id FOR UPDATE OF t
), chosen AS MATERIALIZED (
    SELECT task, token, digest, only_if_lapsed, place, cancelled, state, keeps_place, attempt, retries, losses,
        snoozes, delay_us, result, error, attempts, fingerprint
    FROM locked WHERE NOT (differs AND cancelled)
    UNION ALL
    SELECT task, token, digest, only_if_lapsed, place, cancelled, state_2, keeps_place_2, attempt_2, retries_2,
        losses_2, snoozes_2, delay_us_2, result_2, error_2, attempts_2, fingerprint_2
    FROM locked WHERE differs AND cancelled
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
)
UPDATE mainspring.tasks t SET
    state = c.state,
    version = greatest(t.version + 1, moment.now_us),
    settled_token = c.token,
    settled_digest = c.digest,
    attempt = c.attempt,
    retries = c.retries,
    losses = c.losses,
    snoozes = c.snoozes,
    result = c.result,
    error = c.error,
    attempts = c.attempts,
    fingerprint = c.fingerprint,
    run_at_us = CASE c.state WHEN 2 THEN moment.now_us + c.delay_us ELSE t.run_at_us END,
    seq = CASE WHEN c.state <> 3 OR c.keeps_place THEN t.seq ELSE moment.now_us + c.place END,
    worker = CASE WHEN c.state > 4 THEN t.worker END,
    incarnation = CASE WHEN c.state > 4 THEN t.incarnation END,
    finished_at_us = CASE WHEN c.state > 4 THEN moment.now_us END,
    lease_until_us = NULL,
    timeout_at_us = NULL
FROM chosen c, moment
WHERE t.id = c.task AND t.state + 0 = 4 AND t.token = c.token
    AND (NOT c.only_if_lapsed OR t.lease_until_us <= moment.now_us)
RETURNING c.place, t.state, c.cancelled, t.lane_id, t.is_parent, t.deadline_us

-- part: succeed
-- One line per task that just succeeded: $1 task, in their order, $2 token, $3 digest, $4 result. Counters stay as
-- they are. Rows are locked by the update itself, one after the other in the order of the lines, since the plan is
-- pinned to walk them: to lock them first would write each row twice.
UPDATE mainspring.tasks t SET
    state = 5,
    version = greatest(t.version + 1, moment.now_us),
    settled_token = l.token,
    settled_digest = l.digest,
    result = l.result,
    error = NULL,
    finished_at_us = moment.now_us,
    lease_until_us = NULL,
    timeout_at_us = NULL
FROM (SELECT mainspring.now_us() AS now_us OFFSET 0) AS moment,
    unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
        WITH ORDINALITY AS l (task, token, digest, result, place)
WHERE t.id = l.task AND t.state + 0 = 4 AND t.token = l.token

-- name: succeed
{succeed}
RETURNING l.place, t.state, t.cancel_requested_at_us IS NOT NULL, t.lane_id, t.is_parent

-- name: succeed_plain
-- As a transaction of its own, where nobody waits for the task. $5 generation, $6 what to call the step in the tasks'
-- histories, if they are kept.
WITH current AS MATERIALIZED (
    SELECT FROM mainspring.controls WHERE generation = $5
), done AS (
    {succeed} AND NOT t.is_parent AND EXISTS (SELECT FROM current)
    RETURNING l.place, t.id, t.lane_id, t.attempt, t.token, t.finished_at_us
), counted AS (
    {count} FROM (
        SELECT queue, step.state, sum(step.n * ended.n)
        FROM (SELECT lane_id, count(*) AS n FROM done GROUP BY 1) AS ended JOIN mainspring.lanes l ON l.id = lane_id,
            (VALUES (4::smallint, -1), (5::smallint, 1)) AS step (state, n)
        GROUP BY 1, 2 ORDER BY 1, 2
    ) AS d {counting}
), recorded AS (
    {record} SELECT id, finished_at_us, 4, $6, 5, attempt, token FROM done WHERE $6::smallint IS NOT NULL
)
SELECT place, finished_at_us FROM done

-- name: settled
-- Why lines were not written.
SELECT id, state, token, settled_token, settled_digest FROM mainspring.tasks WHERE id = ANY ($1::text[])
