"""Redis and Valkey: one namespace of one server, a primary behind sentinels, or one slot of a cluster.

    RedisStore (store.py) ── one call of the port, one script, one write to the server's log
        │  address.py      addresses in all usual spellings
        │  dialling.py     clients of the servers that they name; what the server's settings promise
        │  connecting.py   calls with a deadline, by a script's digest    failures.py   what errors mean
        │  wires.py        connections of our own: calling.py asks over them, hearing.py hears
        │  listening.py    hints between nodes
        │
        ├─ exchanging.py, holding.py, progress.py            the verbs of workers
        ├─ editing.py, tending.py, controls.py               by hand, services, membership, terms
        ├─ reading.py, pages.py, explaining.py, dead.py      reading
        ├─ schedules.py, firing.py, workflows.py, retrying.py
        ├─ moving.py, loading.py                             moving house
        └─ auditing/                                         the laws: looked at, mended
        │
    packing.py     lines of the port as packed requests; packed heads and opaque strings as records
    composing.py   of the parts of a script what its verb reaches    scripts.py   what is put into them
        │
    lua/           a file a verb, and the parts that they use:
                   keys       every key of a namespace: the data's map
                   record     heads of tasks; what a call changed, gathered and written at its end
                   moves      the one door for every change of state; what an end means for those that wait
                   limits, belonging, holding, forgetting, by_hand, submit, settle, claim, reply
                   exchange   settles, submits and claims; exchange_* its shapes, which meeting ends

A script is a transaction: nothing comes between its commands. It gathers what it writes and writes it last,
so that one which fails before has changed nothing. Payloads, policies, results and errors are opaque to it.
"""

from mainspring.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
