"""The embedded store: one SQLite file, durable at every answer, shared by the processes of a machine.

    SqliteStore (store.py) ── one job per verb
        │
        ├─ thread.py ─► Writer (transaction.py) ── the one connection that writes; BEGIN IMMEDIATE ... COMMIT
        │     exchanging ─┬─ settling       successes of one claim by one statement, the rest line by line
        │                 ├─ submitting ── planning    plain rows together; keys, parents, caps one by one
        │                 └─ claiming ── limits        heads of lanes
        │     holding        renewals, lapsed leases
        │     progress       checkpoints, steps, logs (its readers' side, too)
        │     editing        cancel, kill, replay, run now, edit, delete
        │     tending        promote, deadlines, resolve, prune
        │     firing         decisions about schedules, written whole or not at all
        │     retrying       workflows cancelled and retried
        │     controls       pauses, limits, weights, workers, terms
        │     transactions   what users submit in transactions of their own
        │     loading        moving house: the records of another store
        │     moves          the one door for a single task's change of state; dependents
        │
        └─ thread.py ─► Reader (reading.py)     board, get, find, stats: waits for nobody who writes
              schedules, workflows   rows that people may have written; how a document's tasks stand
              explaining, dead       what surrounds one task; dead letters by what killed them
              moving                 moving house: records for another store

    auditing/                  the laws of the store: looked up by the reader, mended by the writer

    rows.py, lanes.py          what statements bring
    wakes.py, listening.py     processes tell each other what they write; what nobody told is noticed
    connection.py, schema.py   opening, waiting for other processes, what errors mean, migrations/*.sql
    migrating.py               the schema by hand: up, down, as SQL; down/*.sql
    forking.py                 files that a forked process must not open

Durability class A: WAL with `synchronous=FULL`; an answer comes after its commit is on the disk.
"""

from mainspring.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
