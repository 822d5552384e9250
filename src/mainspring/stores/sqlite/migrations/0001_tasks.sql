-- One row per task. The file is the store: every process that opens it sees the same truth.
--
-- Rules of this schema, each paid for by a measurement:
--   * Every index of `tasks` but the two unique ones is partial: a row is only in the indexes of its
--     present state, so that finished, delayed and blocked tasks are never in a claim's way.
--   * Columns that a claim or a settlement fills are stored at full width from the start (see RESERVED in
--     moves.py): an update that does not lengthen the row rewrites it in place.
--   * Never run ANALYZE here. The plans are pinned with INDEXED BY and must not depend on statistics.

CREATE TABLE meta (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    now_us      INTEGER NOT NULL,  -- the store's time, which never goes back
    minted      INTEGER NOT NULL,  -- the last number minted: tokens, versions, places, lanes rise over it
    generation  INTEGER NOT NULL   -- rises with every change of limits and pauses, which writers cache
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 1);

CREATE TABLE lanes (
    id        INTEGER PRIMARY KEY,
    queue     TEXT NOT NULL,
    kind      TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    priority  INTEGER NOT NULL,
    key       TEXT NOT NULL,
    UNIQUE (queue, kind, tenant, priority, key)
) STRICT;

-- Who claimed: one row per incarnation of a worker, and the last of its claims that granted something.
CREATE TABLE claimants (
    n            INTEGER PRIMARY KEY,
    incarnation  TEXT NOT NULL UNIQUE,
    worker       TEXT NOT NULL,
    claim_seq    INTEGER NOT NULL,
    seen_us      INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
    n                       INTEGER PRIMARY KEY,  -- order of arrival
    id                      TEXT NOT NULL,
    state                   INTEGER NOT NULL,
    lane                    INTEGER NOT NULL,
    seq                     INTEGER NOT NULL,     -- place in the lane's line, unique in the store
    end_us                  INTEGER NOT NULL,     -- running: the lease's end; final: the task's end
    token                   INTEGER NOT NULL,
    version                 INTEGER NOT NULL,
    created_at_us           INTEGER NOT NULL,
    started_at_us           INTEGER NOT NULL,
    settled_token           INTEGER NOT NULL,
    settled_digest          INTEGER NOT NULL,
    claimant                INTEGER NOT NULL,
    claim_seq               INTEGER NOT NULL,
    attempt                 INTEGER NOT NULL DEFAULT 0,
    retries                 INTEGER NOT NULL DEFAULT 0,
    losses                  INTEGER NOT NULL DEFAULT 0,
    snoozes                 INTEGER NOT NULL DEFAULT 0,
    run_at_us               INTEGER,
    timeout_us              INTEGER,
    timeout_at_us           INTEGER,
    deadline_us             INTEGER,
    cancel_requested_at_us  INTEGER,
    unique_digest           BLOB,
    name                    TEXT,
    policy                  BLOB,
    labels                  BLOB,
    progress                BLOB,
    checkpoint              BLOB,
    error                   BLOB,
    attempts                BLOB,
    result                  BLOB,
    payload                 BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX tasks_id ON tasks (id);
CREATE INDEX tasks_ready ON tasks (lane, seq) WHERE state = 3;
CREATE INDEX tasks_running ON tasks (claimant, end_us, lane, claim_seq) WHERE state = 4;
CREATE INDEX tasks_scheduled ON tasks (run_at_us) WHERE state = 2;
CREATE INDEX tasks_timeout ON tasks (timeout_at_us) WHERE timeout_at_us IS NOT NULL;
CREATE INDEX tasks_deadline ON tasks (deadline_us) WHERE deadline_us IS NOT NULL AND state <= 3;
CREATE INDEX tasks_ended_badly ON tasks (state) WHERE state >= 6;
CREATE INDEX tasks_unique ON tasks (unique_digest) WHERE unique_digest IS NOT NULL;

-- Exact numbers by queue and state, kept by the transaction that moves the tasks.
CREATE TABLE counts (
    queue  TEXT NOT NULL,
    state  INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

-- What a task waits for: `open` until its parent's end has been applied to it.
CREATE TABLE edges (
    parent  INTEGER NOT NULL,
    child   INTEGER NOT NULL,
    open    INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;
CREATE INDEX edges_child ON edges (child);
CREATE INDEX edges_open ON edges (child) WHERE open = 1;

-- The record's `depends_on`, as JSON; it outlives the parents.
CREATE TABLE dependencies (
    task     INTEGER PRIMARY KEY,
    parents  BLOB NOT NULL
) STRICT;

-- Final parents whose end is still to be applied to some of their children.
CREATE TABLE unresolved (parent INTEGER PRIMARY KEY) STRICT;

CREATE TABLE idempotency (
    principal   TEXT NOT NULL,
    key         TEXT NOT NULL,
    digest      BLOB NOT NULL,
    expires_us  INTEGER NOT NULL,
    tasks       BLOB NOT NULL,  -- their ids, as JSON
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_us);

CREATE TABLE paused (queue TEXT PRIMARY KEY, by TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE limits (name TEXT PRIMARY KEY, rule BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE arrivals (name TEXT PRIMARY KEY, arrival_us REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE shares (
    tenant      TEXT PRIMARY KEY,
    weight      REAL NOT NULL DEFAULT 1.0,
    virtual_us  REAL NOT NULL DEFAULT 0.0
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    worker       TEXT PRIMARY KEY,
    incarnation  TEXT NOT NULL,
    info         BLOB NOT NULL,
    beaten_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE term (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    holder      TEXT NOT NULL,
    number      INTEGER NOT NULL,
    expires_us  INTEGER NOT NULL
) STRICT;

-- Every step of every task, written only by stores opened with full history.
CREATE TABLE history (
    n        INTEGER PRIMARY KEY,
    task     TEXT NOT NULL,
    at_us    INTEGER NOT NULL,
    old      INTEGER,
    cause    INTEGER NOT NULL,
    new      INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    token    INTEGER NOT NULL
) STRICT;
CREATE INDEX history_task ON history (task);
