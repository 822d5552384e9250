-- Schedules and the records of their fires.

-- name: schedules_by_id
SELECT * FROM mainspring.schedules WHERE id = ANY ($1::text[])

-- name: due_schedules
SELECT * FROM mainspring.schedules WHERE look_us IS NOT NULL AND look_us <= $1 ORDER BY look_us, id LIMIT $2

-- name: next_look
-- The one after the first $1.
SELECT look_us FROM mainspring.schedules WHERE look_us IS NOT NULL ORDER BY look_us LIMIT 1 OFFSET $1

-- name: schedules_after
SELECT * FROM mainspring.schedules WHERE id > $1 ORDER BY id LIMIT $2

-- name: unfinished_fires
SELECT id FROM mainspring.tasks
WHERE schedule_id IS NOT NULL AND schedule_id = $1 AND state <= 4 ORDER BY fire_at_us LIMIT $2

-- name: fires_before
SELECT * FROM mainspring.fires WHERE schedule = $1 AND n < $2 ORDER BY n DESC LIMIT $3

-- name: goes_on_leading
-- Locked: the next leader's term begins after what is written under this one.
SELECT 1 FROM mainspring.term WHERE id = 1 AND number = $1 AND expires_us > mainspring.now_us() FOR SHARE

-- name: lock_schedules
SELECT id, version, mark, records FROM mainspring.schedules WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE

-- name: made_before
SELECT fire_at_us, id FROM mainspring.tasks
WHERE schedule_id IS NOT NULL AND schedule_id = $1 AND fire_at_us = ANY ($2::bigint[])

-- name: name_fires
UPDATE mainspring.tasks t SET schedule_id = f.schedule, fire_at_us = f.fire_us
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS f (schedule, fire_us, task)
WHERE t.id = f.task

-- name: create_schedule
INSERT INTO mainspring.schedules (id, mark) VALUES ($1, 'new') ON CONFLICT DO NOTHING

-- name: change_schedule
-- What people write.
UPDATE mainspring.schedules SET
    mark = 'changing',
    cron = $2, every_s = $3, at = $4, anchor_at = $5, zone = $6, dst = $7, start_at = $8, end_at = $9,
    misfire = $10, misfire_limit = $11, misfire_grace_s = $12, overlap = $13, jitter_s = $14, paused = $15,
    kind = $16, payload = $17, queue = $18, tenant = $19, priority = $20, key = $21, name = $22,
    timeout_s = $23, labels = $24, policy = $25
WHERE id = $1

-- name: write_schedule
-- What a decision leaves behind. $7 now, $8 whether the rules have changed.
UPDATE mainspring.schedules SET
    version = $2, mark = $3, standing = $4, look_us = $5, quarantine = $6,
    created_us = coalesce(created_us, $7),
    updated_us = CASE WHEN $8::boolean THEN $7 ELSE coalesce(updated_us, $7) END,
    last_task = CASE WHEN $9 > coalesce(last_fire_us, 0) THEN $10 ELSE last_task END,
    last_fire_us = greatest(last_fire_us, $9), records = $11
WHERE id = $1

-- name: add_fires
INSERT INTO mainspring.fires (schedule, decided_us, first_us, last_us, count, task, reason)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[]
)

-- name: trim_fires
DELETE FROM mainspring.fires WHERE schedule = $1 AND n <= (
    SELECT n FROM mainspring.fires WHERE schedule = $1 ORDER BY n DESC LIMIT 1 OFFSET $2
)

-- name: delete_schedule
DELETE FROM mainspring.schedules WHERE id = $1
