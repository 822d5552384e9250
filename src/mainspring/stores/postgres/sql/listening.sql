-- Hints between nodes.

-- name: say
-- Not worth a wait for the disk: a hint that is lost costs a node no more than its next look.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('mainspring', $1), nextval('mainspring.signals')

-- name: new_name
SELECT nextval('mainspring.signals')

-- name: signals
SELECT last_value FROM mainspring.signals
