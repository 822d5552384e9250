-- The heads of lanes, each task to one holder.

-- name: claimant
-- Locked, so that a repeat of the same claim waits for the answer of the first.
SELECT claim_seq FROM mainspring.claimants WHERE incarnation = $1 FOR UPDATE

-- name: new_claimant
-- Waits for whoever adds the same incarnation, so that there always is a row to lock.
INSERT INTO mainspring.claimants (incarnation, claim_seq) VALUES ($1, -1) ON CONFLICT DO NOTHING

-- name: claimed
UPDATE mainspring.claimants SET claim_seq = $2, seen_us = mainspring.now_us() WHERE incarnation = $1

-- name: still_held
SELECT {lease} FROM mainspring.tasks t
WHERE t.state = 4 AND t.incarnation = $1 AND t.claim_seq = $2 ORDER BY t.token

-- name: leads
SELECT 1 FROM mainspring.term WHERE number = $1 AND expires_us > mainspring.now_us()

-- part: weight
octet_length(t.payload) + coalesce(octet_length(t.checkpoint), 0) + coalesce(octet_length(t.attempts), 0)

-- part: fitting
-- How many of those gathered are taken until they are too heavy. Looked at only if all of them are.
(
    SELECT count(*) FROM (
        SELECT sum(one.size) OVER (ORDER BY one.place) - one.size AS before
        FROM gathered, unnest(gathered.sizes) WITH ORDINALITY AS one (size, place)
    ) AS lighter WHERE before < $9::bigint
)

-- part: take
-- The heads of lanes, in the order asked. Rows that another claim holds are passed over, not waited for.
-- $1 lane ids, $2 how many to leave out and $3 how many to take of each, $4 how many in all,
-- $5 worker, $6 incarnation, $7 claim_seq, $8 lease_us, $9 how heavy they may be: the one that is too heavy is the last,
-- $10 the place from which on to look in each (lines.py).
-- $11: the claimant is looked at and written here too, and a claim that is not its next gets nothing.
-- All heads are gathered before the first row is changed. The update would else run in between, and a lane that
-- is asked twice would leave out rows that are gone from its line already.
head AS (
    SELECT head.id, head.size, wanted.n
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $10::bigint[])
        WITH ORDINALITY AS wanted (lane_id, leave, take, start, n)
    CROSS JOIN LATERAL (
        SELECT id, {weight} AS size FROM mainspring.tasks t
        WHERE lane_id = wanted.lane_id AND seq >= wanted.start AND state = 3
            AND (deadline_us IS NULL OR deadline_us >= mainspring.now_us())
        ORDER BY seq OFFSET wanted.leave LIMIT wanted.take
        FOR UPDATE SKIP LOCKED
    ) AS head
    WHERE NOT $11 OR (SELECT claim_seq FROM claimant) < $7
    LIMIT $4
), gathered AS MATERIALIZED (
    SELECT array_agg(id) AS ids, array_agg(n) AS ns, array_agg(size) AS sizes, sum(size) AS size FROM head
), moment AS MATERIALIZED (
    SELECT mainspring.now_us() AS now_us
), granted AS (
    UPDATE mainspring.tasks t SET
        state = 4,
        token = greatest(t.token + 1, moment.now_us + picked.place),
        version = greatest(t.version + 1, moment.now_us),
        attempt = t.attempt + 1,
        worker = $5,
        incarnation = $6,
        claim_seq = $7,
        started_at_us = moment.now_us,
        lease_until_us = moment.now_us + $8,
        timeout_at_us = least(moment.now_us + t.timeout_us, t.deadline_us)
    FROM gathered CROSS JOIN LATERAL unnest(gathered.ids, gathered.ns) WITH ORDINALITY AS picked (id, n, place), moment
    WHERE t.id = picked.id AND (gathered.size <= $9::bigint OR picked.place <= {fitting})
    RETURNING picked.place, picked.n AS ask, t.seq, {lease}
), noted AS (
    UPDATE mainspring.claimants SET claim_seq = $7, seen_us = mainspring.now_us()
    WHERE $11 AND incarnation = $6 AND EXISTS (SELECT 1 FROM granted)
)

-- name: claim
WITH claimant AS (
    SELECT claim_seq FROM mainspring.claimants WHERE $11 AND incarnation = $6 FOR UPDATE
), {take}
SELECT * FROM granted

-- name: claim_plain
-- As a transaction of its own, of a claimant's next claim. $12 generation, $13 the queue of each lane, $14 what to
-- call the step in the tasks' histories, if they are kept. Returns one row at least; `is_next` is true if the claim
-- was looked into.
WITH current AS MATERIALIZED (
    SELECT FROM mainspring.controls WHERE generation = $12
), claimant AS (
    SELECT claim_seq FROM mainspring.claimants WHERE incarnation = $6 AND EXISTS (SELECT FROM current) FOR UPDATE
), {take}, counted AS (
    {count} FROM (
        SELECT queue, step.state, step.n * started.n
        FROM (SELECT ($13::text[])[ask] AS queue, count(*) AS n FROM granted GROUP BY 1) AS started,
            (VALUES (3::smallint, -1), (4::smallint, 1)) AS step (state, n)
        ORDER BY 1, 2
    ) AS d {counting}
), recorded AS (
    {record} SELECT id, started_at_us, 3, $14, 4, attempt, token FROM granted WHERE $14::smallint IS NOT NULL
)
SELECT moment.now_us, (SELECT claim_seq FROM claimant) < $7 AS is_next, granted.*
FROM moment LEFT JOIN granted ON true

-- name: lock_limits
-- In the order of their names, before any task is touched: nobody else starts tasks under these rules now.
SELECT name, rule FROM mainspring.limits WHERE name = ANY ($1::text[]) ORDER BY name FOR UPDATE

-- name: arrivals
SELECT name, arrival_us FROM mainspring.arrivals WHERE arrival_us > mainspring.now_us()

-- name: put_arrivals
INSERT INTO mainspring.arrivals (name, arrival_us)
SELECT * FROM unnest($1::text[], $2::double precision[])
ON CONFLICT (name) DO UPDATE SET arrival_us = EXCLUDED.arrival_us
