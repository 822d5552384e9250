-- loses schedules: SELECT EXISTS (SELECT FROM mainspring.schedules)
-- loses records of fires: SELECT EXISTS (SELECT FROM mainspring.fires)
-- loses which schedule tasks came from: SELECT EXISTS (SELECT FROM mainspring.tasks WHERE schedule_id IS NOT NULL)

DROP INDEX mainspring.tasks_fires_open, mainspring.tasks_fires;
ALTER TABLE mainspring.tasks DROP COLUMN fire_at_us, DROP COLUMN schedule_id;
DROP TABLE mainspring.schedules, mainspring.fires;
DROP FUNCTION mainspring.schedule_deleted(), mainspring.schedule_written();
