-- Workflows: tasks that were submitted as one document. How one stands is counted from its tasks; kept here
-- is only what no task can tell.

CREATE TABLE mainspring.workflows (
    id             text COLLATE "C" PRIMARY KEY,
    n              bigint GENERATED ALWAYS AS IDENTITY UNIQUE,  -- order of arrival
    created_at_us  bigint NOT NULL,
    name           text,
    labels         bytea,
    callbacks      bytea NOT NULL,           -- the ids of its callbacks by their number, as JSON
    forgotten      bytea                     -- how members ended that are gone, as JSON
);

-- What a task that is no member is there for (core.workflows.Callback), and its place among the tasks.
ALTER TABLE mainspring.tasks ADD COLUMN workflow text COLLATE "C";
ALTER TABLE mainspring.tasks ADD COLUMN callback smallint;
ALTER TABLE mainspring.tasks ADD COLUMN ordinal integer;

-- Tasks outside of workflows are not in it: their steps do not touch it.
CREATE INDEX tasks_workflow ON mainspring.tasks (workflow, callback, state) WHERE workflow IS NOT NULL;
