-- Limits and pauses.

-- name: rules
SELECT name, rule FROM mainspring.limits

-- name: paused
SELECT queue, by FROM mainspring.paused

-- name: change_controls
-- First in every change of limits and pauses: it makes such changes wait in line, and nodes read them anew. The
-- clock is in it, so that a number lost with the last writes never comes to mean another change.
UPDATE mainspring.controls SET generation = greatest(generation + 1, mainspring.now_us())

-- name: make_limit
INSERT INTO mainspring.limits (name, rule) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING

-- name: put_limit
UPDATE mainspring.limits SET rule = $2 WHERE name = $1

-- name: drop_limit
DELETE FROM mainspring.limits WHERE name = $1

-- name: put_pause
INSERT INTO mainspring.paused (queue, by) VALUES ($1, $2)
ON CONFLICT (queue) DO UPDATE SET by = EXCLUDED.by

-- name: drop_pause
DELETE FROM mainspring.paused WHERE queue = $1

-- Membership and leadership.

-- name: beat
INSERT INTO mainspring.workers (worker, incarnation, info, beaten_us) VALUES ($1, $2, $3, mainspring.now_us())
ON CONFLICT (worker) DO UPDATE
SET incarnation = EXCLUDED.incarnation, info = EXCLUDED.info, beaten_us = EXCLUDED.beaten_us

-- name: leave
DELETE FROM mainspring.workers WHERE worker = $1 AND incarnation = $2

-- name: workers
SELECT info, mainspring.now_us() - beaten_us AS age_us FROM mainspring.workers ORDER BY worker

-- name: take_term
-- $1 candidate, $2 for how long. A term that ran out is over even for its holder: what it did not renew in time,
-- it lost. The row is locked before the clock is read: whoever waited for it judges by the time after the wait.
WITH locked AS MATERIALIZED (
    SELECT id, holder, number, expires_us FROM mainspring.term WHERE id = 1 FOR UPDATE
), judged AS MATERIALIZED (
    SELECT locked.*, mainspring.now_us() AS now_us FROM locked
)
UPDATE mainspring.term t SET
    holder = CASE WHEN j.expires_us <= j.now_us THEN $1 ELSE j.holder END,
    number = CASE WHEN j.expires_us <= j.now_us THEN greatest(j.number + 1, j.now_us) ELSE j.number END,
    expires_us = CASE WHEN j.expires_us <= j.now_us OR j.holder = $1 THEN j.now_us + $2 ELSE j.expires_us END
FROM judged j
WHERE t.id = j.id
RETURNING t.holder, t.number, t.expires_us - j.now_us AS left_us

-- name: term
SELECT t.holder, t.number, t.expires_us - now.us AS left_us
FROM mainspring.term t CROSS JOIN (SELECT mainspring.now_us() AS us) now
WHERE t.id = 1 AND t.expires_us > now.us

-- name: resign
UPDATE mainspring.term SET expires_us = mainspring.now_us() WHERE holder = $1 AND number = $2
