"""PostgreSQL (12 or later) as the system of record, shared by any number of nodes.

    address ─► dialling ─► pool ─► connecting     from a URL to one transaction at a time on a connection,
                             └─ warming           with its hot statements planned

    PostgresStore (store.py) ── one transaction per verb (connecting.py)
        │
        ├─ plain          the hot verbs as one statement each, where nothing is in the way
        ├─ exchanging ─┬─ settling       reports, by one statement for all lines
        │              ├─ submitting ─┬─ copying    plain groups, as the bytes of one COPY
        │              │              └─ planning   others: planned in memory, stored by one COPY
        │              └─ claiming ── limits        heads of lanes, under limits and pauses
        ├─ holding        renewals, lapsed leases            ├─ reading, pages   board, get, find, stats
        ├─ editing        cancel, replay, edit, delete       ├─ progress         checkpoints, steps, logs
        ├─ tending        promote, deadlines, resolve, prune ├─ workflows, retrying
        ├─ controls       pauses, limits, workers, terms     ├─ schedules, firing
        ├─ listening      hints between nodes                ├─ explaining, dead
        ├─ transactions   users' own transactions            ├─ moving, loading  moving house
        ├─ schema, migrating   migrations/*.sql, down/*.sql  └─ auditing/        the laws, and mending
        └─ moves          the one door for a single task's change of state; dependents
                │
        transaction.py    one transaction: its moment, lanes, limits, what it has still to write
        known ── lines, runs   what the node remembers: lanes, controls, and where to begin to look
        sql/              every statement by its name (statements.py); rows.py reads records

Locks are taken in one order: lanes, submit stripes, limits, tasks by id, children by id, claimants, shares,
counts. Durability class A: an answer comes after its commit is on the disk; B with `synchronous_commit=off`.
"""

from mainspring.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
