-- What running tasks record on the way. A task that records nothing has no row here, and nothing that is
-- claimed or settled is looked up here.

CREATE TABLE mainspring.steps (
    task    text COLLATE "C" NOT NULL,
    n       integer NOT NULL,  -- order of recording
    name    text COLLATE "C" NOT NULL,
    result  bytea NOT NULL,
    PRIMARY KEY (task, name)
);

-- Where a task's log stands: see LogHead in core/progress.py.
CREATE TABLE mainspring.logged (
    task   text COLLATE "C" PRIMARY KEY,
    token  bigint NOT NULL,
    base   bigint NOT NULL,
    ends   bigint NOT NULL,
    kept   bigint NOT NULL
) WITH (fillfactor = 50);
-- What is kept of a task that has ended is cut: the few logs that are longer are found without a search.
CREATE INDEX logged_long ON mainspring.logged (kept) WHERE kept > 131072;

CREATE TABLE mainspring.logs (
    task    text COLLATE "C" NOT NULL,
    ends    bigint NOT NULL,   -- where the block ends, in bytes since the task's first
    weight  bigint NOT NULL,   -- what it counts for under the caps
    pieces  bytea NOT NULL,    -- msgpack
    PRIMARY KEY (task, ends)
);
