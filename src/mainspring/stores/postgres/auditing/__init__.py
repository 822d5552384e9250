"""The laws of core.laws over the database: a sweep slice by slice, the inspection of all of it, mending.

    sweep.py      the stages of a sweep, one snapshot a slice ─► books, records, graph, firing, workflows:
    findings repairing.py  each finding is looked up again, and mended ─► mending, rebuilding

What PostgreSQL itself keeps (indexes, constraints, the medium) is for its own tools (`amcheck`) to look at.
"""

from mainspring.stores.postgres.auditing.repairing import repair
from mainspring.stores.postgres.auditing.sweep import audit, inspect

__all__ = ["audit", "inspect", "repair"]
