"""The laws of core.laws over a namespace: a sweep slice by slice, the inspection of all of it, mending.

    sweep.py      the stages of a sweep, one script a slice ─► records, indexes, graph, books, texts, firing:
    findings repairing.py  each finding is looked up again, and mended if it is as it was found ─► mending

Heads are the truth: every index is looked up by them, and they by every index. Scripts gather the facts
(`lua/audit_*.lua`); what follows from them is decided here and in `core`.
"""

from mainspring.stores.redis.auditing.repairing import repair
from mainspring.stores.redis.auditing.sweep import audit, inspect

__all__ = ["audit", "inspect", "repair"]
