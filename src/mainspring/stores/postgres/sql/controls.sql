-- Limits and pauses.

-- name: rules
SELECT name, rule FROM mainspring.limits

-- name: paused
SELECT queue FROM mainspring.paused

-- name: change_controls
-- First in every change of limits and pauses: it makes such changes wait in line, and nodes read them anew.
UPDATE mainspring.controls SET generation = generation + 1

-- name: put_limit
INSERT INTO mainspring.limits (name, rule) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET rule = EXCLUDED.rule

-- name: drop_limit
DELETE FROM mainspring.limits WHERE name = $1

-- name: put_pause
INSERT INTO mainspring.paused (queue, by) VALUES ($1, $2)
ON CONFLICT (queue) DO UPDATE SET by = EXCLUDED.by

-- name: drop_pause
DELETE FROM mainspring.paused WHERE queue = $1
