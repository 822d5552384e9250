"""The laws of `core.laws`, looked up in the file, and what is done about their breaches.

    audit ── sweep ─┬─ books     numbers, limits, terms, small tables; whole every time round
                    ├─ records   tasks by arrival, one slice after another
                    ├─ graph     edges, notes for the resolver, what belongs to tasks
                    ├─ firing    schedules, and the records of their fires
                    └─ workflows
    inspect          what is too dear for a slice: every number counted anew, SQLite's own checks
    repair ─┬─ mending           a task's record
            └─ rebuilding        edges, numbers, small tables

Auditing reads one snapshot a slice and holds up nobody; repairing is a write like any other, and looks every
finding up again before it changes anything.
"""

from mainspring.stores.sqlite.auditing.repairing import repair
from mainspring.stores.sqlite.auditing.sweep import audit, inspect

__all__ = ["audit", "inspect", "repair"]
