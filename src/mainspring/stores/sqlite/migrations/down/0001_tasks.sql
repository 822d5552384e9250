-- loses tasks: SELECT EXISTS (SELECT 1 FROM tasks)
-- loses limits of queues and kinds: SELECT EXISTS (SELECT 1 FROM limits)
-- loses pauses of queues: SELECT EXISTS (SELECT 1 FROM paused)
-- loses weights of tenants: SELECT EXISTS (SELECT 1 FROM shares WHERE weight <> 1)
-- loses idempotency keys: SELECT EXISTS (SELECT 1 FROM idempotency)

DROP TABLE history;
DROP TABLE term;
DROP TABLE workers;
DROP TABLE shares;
DROP TABLE arrivals;
DROP TABLE limits;
DROP TABLE paused;
DROP TABLE idempotency;
DROP TABLE unresolved;
DROP TABLE dependencies;
DROP TABLE edges;
DROP TABLE counts;
DROP TABLE tasks;
DROP TABLE claimants;
DROP TABLE lanes;
DROP TABLE meta;
