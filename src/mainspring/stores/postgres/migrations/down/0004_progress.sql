-- loses results of steps: SELECT EXISTS (SELECT FROM mainspring.steps)
-- loses logs: SELECT EXISTS (SELECT FROM mainspring.logs)

DROP TABLE mainspring.logs, mainspring.logged, mainspring.steps;
