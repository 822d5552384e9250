-- loses workflows, though not their tasks: SELECT EXISTS (SELECT FROM mainspring.workflows)

DROP INDEX mainspring.tasks_workflow;
ALTER TABLE mainspring.tasks DROP COLUMN ordinal, DROP COLUMN callback, DROP COLUMN workflow;
DROP TABLE mainspring.workflows;
