-- One row per task, in a schema of its own beside the user's tables.
--
-- Rules of this schema:
--   * No index holds `lease_until_us`: a heartbeat is then a heap-only update that touches no index.
--   * Indexes but the primary key are partial: a finished row is in none of them that a claim reads.
--   * No foreign keys: a key check locks the lane's row once per task, and that row is shared by all.
--   * No counters per queue or name: a row that every transaction updates makes all nodes wait in line.

CREATE SCHEMA IF NOT EXISTS mainspring;

-- The store's clock. Everything that the store times, it times by this.
CREATE FUNCTION mainspring.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

CREATE TABLE mainspring.migrations (
    number       integer PRIMARY KEY,
    applied_at   timestamptz NOT NULL DEFAULT now()
);

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
CREATE TABLE mainspring.claimants (incarnation text COLLATE "C" PRIMARY KEY, claim_seq bigint NOT NULL);

CREATE TABLE mainspring.shares (
    tenant      text COLLATE "C" PRIMARY KEY,
    weight      double precision NOT NULL DEFAULT 1,
    virtual_us  double precision NOT NULL DEFAULT 0
);

CREATE TABLE mainspring.term (
    id          integer PRIMARY KEY CHECK (id = 1),
    holder      text NOT NULL,
    number      bigint NOT NULL,
    expires_us  bigint NOT NULL
);

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
    claim_seq               bigint NOT NULL DEFAULT 0,
    settled_token           bigint NOT NULL DEFAULT 0,
    settled_digest          bigint NOT NULL DEFAULT 0,
    attempt                 integer NOT NULL DEFAULT 0,
    retries                 integer NOT NULL DEFAULT 0,
    losses                  integer NOT NULL DEFAULT 0,
    snoozes                 integer NOT NULL DEFAULT 0,
    open_parents            integer NOT NULL DEFAULT 0,
    state                   smallint NOT NULL,
    on_parent_failure       smallint NOT NULL, -- 1 cancel, 2 run, 3 block; beside the policy, which SQL never decodes
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
) WITH (fillfactor = 70);

-- The lines, and a queue's backlog: both are read by lane.
CREATE INDEX tasks_waiting ON mainspring.tasks (lane_id, state, seq) WHERE state <= 3;
CREATE INDEX tasks_scheduled ON mainspring.tasks (run_at_us, id) WHERE state = 2;
CREATE INDEX tasks_running ON mainspring.tasks (incarnation, claim_seq) INCLUDE (lane_id) WHERE state = 4;
CREATE INDEX tasks_unique ON mainspring.tasks (unique_digest, created_at_us) WHERE unique_digest IS NOT NULL;

-- What a task waits for: `open` until its parent's end has been applied to it.
CREATE TABLE mainspring.edges (
    parent  text COLLATE "C" NOT NULL,
    child   text COLLATE "C" NOT NULL,
    open    boolean NOT NULL,
    PRIMARY KEY (parent, child)
);
CREATE INDEX edges_open ON mainspring.edges (parent, child) WHERE open;

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
