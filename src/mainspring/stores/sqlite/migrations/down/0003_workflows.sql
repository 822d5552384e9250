-- loses workflows, though not their tasks: SELECT EXISTS (SELECT 1 FROM workflows)

DROP INDEX tasks_workflow;
ALTER TABLE tasks DROP COLUMN callback;
ALTER TABLE tasks DROP COLUMN workflow;
DROP TABLE workflows;
