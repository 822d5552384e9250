-- What running tasks record on the way. A task that records nothing has no row here, and nothing that is
-- claimed or settled is looked up here.

CREATE TABLE steps (
    task    INTEGER NOT NULL,
    n       INTEGER NOT NULL,  -- order of recording
    name    TEXT NOT NULL,
    result  BLOB NOT NULL,
    PRIMARY KEY (task, name)
) STRICT;

-- Where a task's log stands: see LogHead in core/progress.py.
CREATE TABLE logged (
    task   INTEGER PRIMARY KEY,
    token  INTEGER NOT NULL,
    base   INTEGER NOT NULL,
    ends   INTEGER NOT NULL,
    kept   INTEGER NOT NULL
) STRICT;
-- What is kept of a task that has ended is cut: the few logs that are longer are found without a search.
CREATE INDEX logged_long ON logged (kept) WHERE kept > 131072;

CREATE TABLE logs (
    task    INTEGER NOT NULL,
    ends    INTEGER NOT NULL,  -- where the block ends, in bytes since the task's first
    weight  INTEGER NOT NULL,  -- what it counts for under the caps
    pieces  BLOB NOT NULL,     -- msgpack
    PRIMARY KEY (task, ends)
) STRICT;
