-- Workflows: tasks that were submitted as one document. How one stands is counted from its tasks; kept here
-- is only what no task can tell.

CREATE TABLE workflows (
    n              INTEGER PRIMARY KEY,  -- order of arrival
    id             TEXT NOT NULL UNIQUE,
    created_at_us  INTEGER NOT NULL,
    name           TEXT,
    labels         BLOB,
    callbacks      BLOB NOT NULL,        -- the ids of its callbacks by their number, as JSON
    forgotten      BLOB                  -- how members ended that are gone, as JSON
) STRICT;

-- The workflow's `n`, and what a task that is no member is there for (core.workflows.Callback).
ALTER TABLE tasks ADD COLUMN workflow INTEGER;
ALTER TABLE tasks ADD COLUMN callback INTEGER;

-- Tasks outside of workflows are not in it: their steps do not touch it.
CREATE INDEX tasks_workflow ON tasks (workflow, callback, state) WHERE workflow IS NOT NULL;
