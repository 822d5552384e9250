"""Why a task is not running, as shown: durations in seconds, times in RFC 3339."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from mainspring.core.explain import Reason
from mainspring.core.model import Task
from mainspring.wire.fields import moment, seconds


class ReasonView(msgspec.Struct):
    """One reason. Those that are `blocking` keep every worker from claiming the task now. `facts` are the
    numbers of the text."""

    code: str
    text: str
    hint: str | None
    blocking: bool
    facts: dict[str, Any]


class ExplanationView(msgspec.Struct):
    """The reasons in the order in which they stand in the task's way, by the store's clock `as_of` then."""

    task: str
    state: str
    claimable: bool
    as_of: datetime
    reasons: list[ReasonView]


def explanation_view(task: Task, now_us: int, claimable: bool, reasons: list[Reason]) -> ExplanationView:
    shown = [
        ReasonView(reason.code, reason.text, reason.hint or None, reason.blocking, _facts(reason.facts))
        for reason in reasons
    ]
    return ExplanationView(task.id, task.state.label, claimable, moment(now_us), shown)


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_fact(name, value) for name, value in facts.items())


def _fact(name: str, value: Any) -> tuple[str, Any]:
    """`due_in_us` becomes `due_in` in seconds, `due_at_us` becomes `due_at`, a time."""
    if name.endswith("_at_us"):
        return name.removesuffix("_us"), None if value is None else moment(value)
    if name.endswith("_us"):
        return name.removesuffix("_us"), seconds(value)
    return name, value
