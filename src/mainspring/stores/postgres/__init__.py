"""A prototype, not a driver: no URL opens it. It has the hot verbs of the port as SQL for PostgreSQL, proves
by the conformance suite that the port fits this engine, and is the seed of the driver to come.

    PostgresPrototype (prototype.py) ─┬─ submitting    groups: planned in memory, stored by one insert
                                      ├─ claiming      heads of lanes, under limits and pauses
                                      ├─ settling      reports and heartbeats; children of a task that ended
                                      ├─ resolving     what settling left of ended parents
                                      └─ forcing       cancel, kill, replay, run now
                                             │
                                      transaction.py   one transaction: its moment, lanes, limits, locks
                                             │
                                      sql/, migrations/  every statement by its name; rows.py reads records

Locks are taken in one order: lanes, submit stripes, limits, tasks by id, children by id, claimants, shares.
"""

from mainspring.stores.postgres.prototype import PostgresPrototype

__all__ = ["PostgresPrototype"]
