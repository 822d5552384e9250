-- loses which dead letters belong together: SELECT EXISTS (SELECT 1 FROM tasks WHERE fingerprint IS NOT NULL)

DROP INDEX tasks_dead;
ALTER TABLE tasks DROP COLUMN fingerprint;
