-- Dead rows are cleaned up before they are in the way, however large the tables have become: those of `tasks` as ever,
-- and what is closed, resolved or expired behind them. A part of the rows, not a fixed number: each clean-up goes
-- through the indexes, which grow with the table.

ALTER TABLE mainspring.edges SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE mainspring.idempotency SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);

-- Few rows each, written by every node all the time.
ALTER TABLE mainspring.unresolved SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE mainspring.counts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE mainspring.claimants SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE mainspring.shares SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
