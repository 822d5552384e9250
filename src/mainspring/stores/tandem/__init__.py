"""PostgreSQL as the system of record with Redis beside it: `--store postgresql://... --queue redis://...`.

    TandemStore (store.py) ── a PostgresStore that claims and wakes by way of Redis
        │
        ├─ taking.py    an exchange's claims: known heads, under PostgreSQL's guard, then its own lines
        ├─ heads.py     the heads of lanes in Redis: each taken by one node, all void after a moment
        ├─ wakeups.py   hints between nodes by publish and subscribe
        └─ link.py      Redis within a deadline; while it is out, nobody waits for it

PostgreSQL alone knows the truth. Redis holds what a claim saw behind the tasks that it took: the next ones of
the same lanes. Where looking is slow, later claims take these by their ids instead. A head is no more than
a hint where to look: it is taken if it is still ready, in the same lane and at the same place in line.
Submits do not touch Redis at all: what becomes ready stands behind all that was seen before. Where a task
comes back to an older place, its lane is forgotten.

So whatever becomes of Redis (flushed, full, slow, gone, brought back as it was last week), no task is lost
and none is given to two. What can suffer, for up to `heads.KEPT_S`, is the order inside a lane.
"""

from mainspring.stores.tandem.store import TandemStore

__all__ = ["TandemStore"]
