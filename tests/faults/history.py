"""What became of the tasks, looked up with the checks of the simulation.

store's full history ─┐
clients' offers       ├─► record ─► tokens rise, steps are legal, outcomes are what handlers said,
handlers' diary       ┘             nothing that a client was told of is lost or left over
the store's laws ───────► no breach
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from mainspring.core.model import State, Task
from mainspring.ports import Group, Store
from mainspring.testing.checks import ends, fencing, lives
from mainspring.testing.checks.check import Check, Violation
from mainspring.testing.checks.model import Model
from mainspring.testing.record import Answered, Called, Ran, Step, Told
from mainspring.verbs import Exchange, Exchanged, Query, Transition

CHECKS: tuple[type[Check], ...] = (
    fencing.Tokens,
    lives.Steps,
    lives.Truth,
    ends.Promises,
    ends.Endings,
)
AT_ONCE = 16


class Findings(NamedTuple):
    """`lost` are tasks that a client was told of, and that the store does not have."""

    tasks: int
    lost: set[str]
    violations: list[Violation | str]


async def look_up(
    store: Store, offered: Sequence[Group], told: set[str], diary: Sequence[Ran], *, may_lose: bool = False
) -> Findings:
    """Look every promise up. With `may_lose` a told task that is not there is counted, and no violation."""
    tasks = {task.id: task for task in await _all_tasks(store) if task.lane.queue == "default"}
    known = {task.id for group in offered for task in group.tasks}
    violations: list[Violation | str] = [f"{task} was never offered" for task in tasks.keys() - known]
    lost = told - tasks.keys()
    model, found = Model(), list[Violation]()
    checks = [kind(model, found) for kind in CHECKS]
    for event in (
        Called(0.0, 1, 0, "exchange", (Exchange(submits=offered),)),
        *diary,
        *_steps(await _histories(store, sorted(tasks)), tasks),
        Answered(0.0, 1, 0, "exchange", Exchanged(0), (), ()),
        Told(0.0, "submit", tuple(sorted(told - lost if may_lose else told))),
    ):
        for check in checks:
            # An answer without lines would only be held against the lines that the call has not got.
            getattr(check, f"on_{type(event).__name__.lower()}")(event)
        model.apply(event)
    for check in checks:
        check.at_end()
    violations += [one for one in found if not (may_lose and _was_rewound(one))]
    violations += _granted_twice(diary)
    violations += await _breaches(store)
    return Findings(len(tasks), lost, violations)


def _was_rewound(violation: Violation) -> bool:
    """A report that the store had accepted, and lost: its task runs again, as one that was handed back."""
    return violation.promise == "truthful-outcome" and "stored as RELEASE" in violation.what


async def _all_tasks(store: Store) -> list[Task]:
    tasks, cursor = list[Task](), None
    while True:
        page = await store.find(Query(limit=500, cursor=cursor))
        tasks += page.tasks
        cursor = page.cursor
        if cursor is None:
            return tasks


async def _histories(store: Store, tasks: Sequence[str]) -> list[Sequence[Transition]]:
    histories: list[Sequence[Transition]] = []
    for start in range(0, len(tasks), AT_ONCE):
        histories += await asyncio.gather(*map(store.history, tasks[start : start + AT_ONCE]))
    return histories


def _steps(histories: Sequence[Sequence[Transition]], tasks: dict[str, Task]) -> list[Step]:
    """All steps by the store's clock, those of a task as the store has them: a transaction that waited for
    another one bears an earlier time."""
    told = [
        (at_us, place, one)
        for steps in histories
        for place, (one, at_us) in enumerate(
            zip(steps, accumulate((s.at_us for s in steps), max), strict=True)
        )
    ]
    return [
        Step(
            at_s=one.at_us / 1e6,
            call=1,
            now_us=one.at_us,
            task=one.task,
            old=one.old,
            cause=one.cause,
            new=one.new,
            token=one.token,
            attempt=one.attempt,
            retries=0,
            losses=0,
            snoozes=0,
            incarnation="",
            claim_seq=0,
            lane=tasks[one.task].lane,
            seq=None,
            lease_until_us=None,
            run_at_us=None,
            deadline_us=None,
            result=tasks[one.task].result if one.new is State.SUCCEEDED else None,
        )
        for _, _, one in sorted(told, key=lambda step: step[:2])
    ]


def _granted_twice(diary: Sequence[Ran]) -> list[str]:
    starts = Counter((word.task, word.token) for word in diary if word.what == "start")
    return [
        f"{task} was started {n} times under token {token}" for (task, token), n in starts.items() if n > 1
    ]


async def _breaches(store: Store) -> list[str]:
    findings, cursor = list(await store.inspect()), None
    while True:
        audit = await store.audit(cursor, 1_000)
        findings += audit.findings
        cursor = audit.cursor
        if cursor is None:
            return [f"{finding.law}: {finding.subject}: {finding.detail}" for finding in findings]
