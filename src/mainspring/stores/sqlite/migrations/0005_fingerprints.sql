-- What killed a dead letter: kind, error and place as one number (core/fingerprint.py), only while the task is
-- failed. The index has one entry a dead letter, and no hot statement writes a column of it but `end_us`,
-- which costs them nothing that could be measured: finished and running rows are not in it.

ALTER TABLE tasks ADD COLUMN fingerprint INTEGER;
CREATE INDEX tasks_dead ON tasks (fingerprint, end_us) WHERE fingerprint IS NOT NULL;
