"""A full, honest store in memory: the suite's reference, the simulation's engine, a helper for tests.

    MemoryStore (store.py) ─┬─ submitting     groups, unique rules, idempotency keys, backlog caps
                            ├─ claiming       heads of lanes, limits, repeated claims
                            ├─ settling       reports, renewals, checkpoints, lapsed and overdue runs
                            ├─ editing        cancel, kill, replay, run now, edit, delete
                            ├─ tending        promote, resolve, prune
                            ├─ reading        board, pages, views of a row
                            ├─ schedules      what is due; decisions, written whole or not at all
                            ├─ workflows      founded, counted, cancelled, retried
                            ├─ progress       steps, logs, parents
                            ├─ auditing       the laws, looked up ── mending
                            ├─ explaining, dead   what surrounds one task; dead letters by what killed them
                            └─ moving, loading  moving house: records for another store, and from one
                                   │
                            moves.py          the one door for every change of state
                                   │
                            tables.py         rows and their indexes; a copy of them is a snapshot

It keeps every promise of the port but durability: what it holds ends with the process.
"""

from mainspring.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
