-- loses schedules: SELECT EXISTS (SELECT 1 FROM schedules)
-- loses records of fires: SELECT EXISTS (SELECT 1 FROM fires)
-- loses which schedule tasks came from: SELECT EXISTS (SELECT 1 FROM tasks WHERE schedule_id IS NOT NULL)

DROP VIEW task_list;
DROP INDEX tasks_fires_open;
DROP INDEX tasks_fires;
ALTER TABLE tasks DROP COLUMN fire_at_us;
ALTER TABLE tasks DROP COLUMN schedule_id;
DROP TABLE schedules;
DROP TABLE fires;
