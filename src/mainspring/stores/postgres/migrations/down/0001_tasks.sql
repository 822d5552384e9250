-- loses tasks: SELECT EXISTS (SELECT FROM mainspring.tasks)
-- loses limits of queues and kinds: SELECT EXISTS (SELECT FROM mainspring.limits)
-- loses pauses of queues: SELECT EXISTS (SELECT FROM mainspring.paused)
-- loses weights of tenants: SELECT EXISTS (SELECT FROM mainspring.shares WHERE weight <> 1)
-- loses idempotency keys: SELECT EXISTS (SELECT FROM mainspring.idempotency)

DROP SEQUENCE mainspring.signals;
DROP TABLE mainspring.history, mainspring.idempotency, mainspring.unresolved, mainspring.edges, mainspring.tasks,
    mainspring.term, mainspring.workers, mainspring.counts, mainspring.shares, mainspring.claimants,
    mainspring.lanes, mainspring.arrivals, mainspring.paused, mainspring.limits, mainspring.controls;
DROP FUNCTION mainspring.now_us();
