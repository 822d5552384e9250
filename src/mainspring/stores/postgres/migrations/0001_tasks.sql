-- One row per task, in a schema of its own beside the user's tables.
--
-- Rules of this schema:
--   * No index holds `lease_until_us` or `timeout_at_us`: a heartbeat is then a heap-only update that touches no
--     index.
--   * Indexes but the primary key are partial: a finished row is in none of them that a claim reads.
--   * No foreign keys: a key check locks the lane's row once per task, and that row is shared by all.
--   * No row that every transaction updates: it would make all nodes wait in line.

-- The store's clock. Everything that the store times, it times by this.
CREATE FUNCTION mainspring.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

-- One row. `generation` rises with every change of limits and pauses, which nodes cache.
CREATE TABLE mainspring.controls (
    id          integer PRIMARY KEY CHECK (id = 1),
    generation  bigint NOT NULL
);
INSERT INTO mainspring.controls VALUES (1, 1);

CREATE TABLE mainspring.limits (name text COLLATE "C" PRIMARY KEY, rule bytea NOT NULL);
CREATE TABLE mainspring.paused (queue text COLLATE "C" PRIMARY KEY, by text NOT NULL);
CREATE TABLE mainspring.arrivals (name text COLLATE "C" PRIMARY KEY, arrival_us double precision NOT NULL);

-- Ids come from the clock, so that a number lost with the last writes never comes to mean another lane.
CREATE TABLE mainspring.lanes (
    id        bigint PRIMARY KEY,
    queue     text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    tenant    text COLLATE "C" NOT NULL,
    priority  integer NOT NULL,
    key       text COLLATE "C" NOT NULL,
    UNIQUE (queue, kind, tenant, priority, key)
);

-- The last claim of each worker's incarnation that granted something.
CREATE TABLE mainspring.claimants (
    incarnation  text COLLATE "C" PRIMARY KEY,
    claim_seq    bigint NOT NULL,
    seen_us      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE mainspring.shares (
    tenant      text COLLATE "C" PRIMARY KEY,
    weight      double precision NOT NULL DEFAULT 1,
    virtual_us  double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Exact numbers by queue and state, kept by the transaction that moves the tasks. Each server process adds to rows
-- of its own (`slot`), so that nodes do not wait for each other; what counts is their sum.
CREATE TABLE mainspring.counts (
    slot   integer NOT NULL,
    queue  text COLLATE "C" NOT NULL,
    state  smallint NOT NULL,
    n      bigint NOT NULL,
    PRIMARY KEY (slot, queue, state)
) WITH (fillfactor = 50);

CREATE TABLE mainspring.workers (
    worker       text COLLATE "C" PRIMARY KEY,
    incarnation  text NOT NULL,
    info         bytea NOT NULL,
    beaten_us    bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE mainspring.term (
    id          integer PRIMARY KEY CHECK (id = 1),
    holder      text NOT NULL,
    number      bigint NOT NULL,
    expires_us  bigint NOT NULL
);
INSERT INTO mainspring.term VALUES (1, '', 0, 0);

-- States: 1 blocked, 2 scheduled, 3 ready, 4 running, 5 succeeded, 6 failed, 7 cancelled.
CREATE TABLE mainspring.tasks (
    id                      text COLLATE "C" PRIMARY KEY,
    lane_id                 bigint NOT NULL,
    seq                     bigint,            -- place in the lane's line
    token                   bigint NOT NULL DEFAULT 0,
    version                 bigint NOT NULL,
    created_at_us           bigint NOT NULL,
    run_at_us               bigint,
    timeout_us              bigint,
    deadline_us             bigint,
    started_at_us           bigint,
    lease_until_us          bigint,
    timeout_at_us           bigint,
    finished_at_us          bigint,
    cancel_requested_at_us  bigint,
    fingerprint             bigint,            -- what killed a dead letter; only while the task is failed
    claim_seq               bigint NOT NULL DEFAULT 0,
    settled_token           bigint NOT NULL DEFAULT 0,
    settled_digest          bigint NOT NULL DEFAULT 0,
    attempt                 integer NOT NULL DEFAULT 0,
    retries                 integer NOT NULL DEFAULT 0,
    losses                  integer NOT NULL DEFAULT 0,
    snoozes                 integer NOT NULL DEFAULT 0,
    state                   smallint NOT NULL,
    rule                    smallint NOT NULL, -- the policy's on_parent_failure, beside it: SQL never decodes
    is_parent               boolean NOT NULL DEFAULT false,
    worker                  text,
    incarnation             text COLLATE "C",
    name                    text,
    unique_digest           bytea,
    policy                  bytea,
    labels                  bytea,
    depends_on              bytea,             -- ids, as JSON
    checkpoint              bytea,
    progress                bytea,
    result                  bytea,
    error                   bytea,
    attempts                bytea,
    payload                 bytea NOT NULL
) WITH (
    fillfactor = 70,
    -- Each claim and each end leaves a dead row in the way of the next claim: cleaned up early and often.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX tasks_ready ON mainspring.tasks (lane_id, seq) WHERE state = 3;
CREATE INDEX tasks_scheduled ON mainspring.tasks (run_at_us, id) WHERE state = 2;
CREATE INDEX tasks_running ON mainspring.tasks (incarnation, claim_seq) INCLUDE (lane_id) WHERE state = 4;
CREATE INDEX tasks_deadline ON mainspring.tasks (deadline_us) WHERE deadline_us IS NOT NULL AND state <= 3;
CREATE INDEX tasks_ended_badly ON mainspring.tasks (state, id) WHERE state >= 6;
CREATE INDEX tasks_dead ON mainspring.tasks (fingerprint, finished_at_us) WHERE fingerprint IS NOT NULL;
CREATE INDEX tasks_unique ON mainspring.tasks (unique_digest, created_at_us) WHERE unique_digest IS NOT NULL;

-- What a task waits for: `open` until its parent's end has been applied to it.
CREATE TABLE mainspring.edges (
    parent  text COLLATE "C" NOT NULL,
    child   text COLLATE "C" NOT NULL,
    rule    smallint NOT NULL,                -- the child's, so that an end finds those whom it concerns
    open    boolean NOT NULL,
    PRIMARY KEY (parent, child)
) WITH (fillfactor = 70);
-- Both columns, though one would do: an edge is then found in one step by whichever index the planner takes.
CREATE INDEX edges_child ON mainspring.edges (child, parent);
CREATE INDEX edges_open ON mainspring.edges (child, parent) WHERE open;
CREATE INDEX edges_waiting ON mainspring.edges (parent, rule, child) WHERE open;

-- Final parents whose end is still to be applied to some of their children.
CREATE TABLE mainspring.unresolved (parent text COLLATE "C" PRIMARY KEY);

CREATE TABLE mainspring.idempotency (
    principal   text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    digest      bytea NOT NULL,
    expires_us  bigint NOT NULL,
    tasks       bytea NOT NULL,               -- ids, as JSON
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_expires ON mainspring.idempotency (expires_us);

-- Every step of every task, written only by stores opened with full history.
CREATE TABLE mainspring.history (
    n        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task     text COLLATE "C" NOT NULL,
    at_us    bigint NOT NULL,
    old      smallint,
    cause    smallint NOT NULL,
    new      smallint NOT NULL,
    attempt  integer NOT NULL,
    token    bigint NOT NULL
);
CREATE INDEX history_task ON mainspring.history (task);

-- Rises whenever a node has written what others may wait for.
CREATE SEQUENCE mainspring.signals;
