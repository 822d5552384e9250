-- loses results of steps: SELECT EXISTS (SELECT 1 FROM steps)
-- loses logs: SELECT EXISTS (SELECT 1 FROM logs)

DROP TABLE logs;
DROP TABLE logged;
DROP TABLE steps;
