"""The promises, looked up in a seed's record.

    record ─► model     what the tasks must look like, from the events alone
          ├─► fencing   tokens, leases, claims: nobody but the holder is heard
          ├─► lives     legal steps, counters, cancels, truthful outcomes, places in line
          ├─► lines     times, order, limits, pauses, parents, unique rules, keys
          ├─► firing    schedules: each fire time once, as the rules in force say (judging, calendar)
          ├─► leading   terms: who believes to lead, and what is written under a term
          ├─► progress  steps run once, checkpoints and parents' results handed on, logs in order
          ├─► workflows callbacks, retries of what failed, retention of the whole
          ├─► workers   what workers may start, must stop, and must not drop
          └─► ends      nothing lost, nothing stuck, books right, recovery in time

Each violation names its promise as `docs/simulation.md` does; `explain` tells the task's story.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from mainspring.testing.checks import (
    ends,
    fencing,
    firing,
    leading,
    lines,
    lives,
    progress,
    workers,
    workflows,
)
from mainspring.testing.checks.check import Check, Violation
from mainspring.testing.checks.explain import explain
from mainspring.testing.checks.model import Model
from mainspring.testing.record import Event, Record

__all__ = ["Audit", "Violation", "audit", "explain"]

CHECKS: tuple[type[Check], ...] = (
    fencing.Tokens,
    fencing.Fences,
    fencing.Outcomes,
    fencing.Claims,
    lives.Steps,
    lives.Counters,
    lives.Cancels,
    lives.Truth,
    lives.Places,
    lines.Times,
    lines.Order,
    lines.Limits,
    lines.Parents,
    lines.Rules,
    workers.Holders,
    progress.Steps,
    progress.Checkpoints,
    progress.Parents,
    progress.Logs,
    firing.Decisions,
    leading.Terms,
    workflows.Callbacks,
    workflows.Retries,
    workflows.Together,
    workflows.Tallies,
    ends.Promises,
    ends.Endings,
    ends.Removals,
    ends.Recovery,
    ends.Books,
)


class Audit(NamedTuple):
    """The violations, in the order in which they can be seen; and how many tasks that a client had been told
    of went with the last writes of a failing store, as a class B store may lose them. `seen` are the sights
    that were met, of `sights.SIGHTS`."""

    violations: list[Violation]
    acknowledged_lost: int
    seen: Counter[str]


def audit(record: Record, stuck: str = "") -> Audit:
    """Look every promise up in the record. `stuck` says why the seed did not come to its end, if so."""
    model, found = Model(), list[Violation]()
    checks = [kind(model, found) for kind in CHECKS]
    watchers: dict[type[Event], list[Callable[[Any], None]]] = {}
    for event in record.events:
        kind = type(event)
        if kind not in watchers:
            watchers[kind] = _watchers(checks, kind.__name__.lower())
        for watch in watchers[kind]:
            watch(event)
        if found and found[0].promise == "legal-step":
            break  # the model cannot follow a record that breaks the table
        model.apply(event)
    else:
        for check in checks:
            check.at_end()
    if stuck:
        found.append(Violation("time-goes-on", "", stuck, record.events[-1].at_s))
    lost = sum(check.lost for check in checks if isinstance(check, ends.Promises))
    return Audit(found, lost, sum((check.seen for check in checks), Counter()))


def _watchers(checks: list[Check], name: str) -> list[Callable[[Any], None]]:
    """The checks that look at this kind of event."""
    method = f"on_{name}"
    return [
        getattr(check, method)
        for check in checks
        if getattr(type(check), method) is not getattr(Check, method)
    ]
