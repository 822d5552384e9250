-- loses submitted tasks that were not taken in yet: SELECT EXISTS (SELECT 1 FROM submissions)

DROP TRIGGER completions_written;
DROP VIEW completions;
DROP TABLE submissions;
